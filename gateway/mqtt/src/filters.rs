//! From a topic to those whose filters cover it: a tree with a level of filters at each depth, so that what one publish costs
//! does not grow with the number of sessions.

use std::collections::HashMap;

/// What a filter counts for beside its own bytes: its place, and each of its levels but the last (a table of its own).
const PLACE_BYTES: usize = 128;
const LEVEL_BYTES: usize = 300;

/// What a filter counts for, bytes. Where filters share levels it is less in truth.
pub(crate) fn filter_bytes(filter: &str) -> usize {
    PLACE_BYTES + filter.len() + LEVEL_BYTES * filter.matches('/').count()
}

/// The tree. `T` is who subscribes.
pub(crate) struct Filters<T> {
    root: Level<T>,
    count: usize,
    bytes: usize,
}

#[expect(
    clippy::box_collection,
    reason = "a map takes 48 bytes also where it is empty, and there is a level for each filter"
)]
struct Level<T> {
    /// Boxed: most levels are the last ones.
    below: Option<Box<HashMap<Box<str>, Self>>>,
    here: Vec<T>,
}

impl<T> Default for Level<T> {
    fn default() -> Self {
        Self { below: None, here: Vec::new() }
    }
}

impl<T> Default for Filters<T> {
    fn default() -> Self {
        Self { root: Level::default(), count: 0, bytes: 0 }
    }
}

impl<T> Filters<T> {
    /// How many were put in.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// What they count for, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn insert(&mut self, filter: &str, who: T) {
        let levels: Vec<&str> = filter.split('/').collect();
        self.root.insert(&levels, who);
        self.count += 1;
        self.bytes += filter_bytes(filter);
    }

    /// Takes out whoever `is_it` says, and the levels that nobody is left in.
    pub(crate) fn remove(&mut self, filter: &str, is_it: impl Fn(&T) -> bool) {
        let levels: Vec<&str> = filter.split('/').collect();
        let removed = self.root.remove(&levels, &is_it);
        self.count -= removed;
        self.bytes -= removed * filter_bytes(filter);
    }

    /// Tells `each` who subscribes to the topic, once for each of his filters that covers it. The topic does not begin with `$`.
    pub(crate) fn visit(&self, topic: &str, each: &mut impl FnMut(&T)) {
        let levels: Vec<&str> = topic.split('/').collect();
        self.root.visit(&levels, each);
    }

    /// Whether anybody's filter covers the topic, which does not begin with `$`.
    pub(crate) fn covers(&self, topic: &str) -> bool {
        let levels: Vec<&str> = topic.split('/').collect();
        self.root.covers(&levels)
    }

    /// Tells `each` about everybody, and forgets them.
    pub(crate) fn clear(&mut self, each: &mut impl FnMut(T)) {
        std::mem::take(self).root.clear(each);
    }
}

impl<T> Level<T> {
    fn get(&self, name: &str) -> Option<&Self> {
        self.below.as_ref()?.get(name)
    }

    fn insert(&mut self, levels: &[&str], who: T) {
        let Some((name, rest)) = levels.split_first() else {
            if self.here.capacity() == 0 {
                // Most filters are one client's alone.
                self.here.reserve_exact(1);
            }
            return self.here.push(who);
        };
        let below = self.below.get_or_insert_default();
        if let Some(level) = below.get_mut(*name) {
            return level.insert(rest, who);
        }
        let mut level = Self::default();
        level.insert(rest, who);
        below.insert((*name).into(), level);
    }

    fn remove(&mut self, levels: &[&str], is_it: &impl Fn(&T) -> bool) -> usize {
        let Some((name, rest)) = levels.split_first() else {
            let before = self.here.len();
            self.here.retain(|who| !is_it(who));
            if self.here.len() < self.here.capacity() / 4 {
                self.here.shrink_to(self.here.len() * 2);
            }
            return before - self.here.len();
        };
        let Some(below) = &mut self.below else { return 0 };
        let Some(level) = below.get_mut(*name) else { return 0 };
        let removed = level.remove(rest, is_it);
        if level.here.is_empty() && level.below.is_none() {
            below.remove(*name);
            if below.len() < below.capacity() / 4 {
                below.shrink_to(below.len() * 2);
            }
        }
        if below.is_empty() {
            self.below = None;
        }
        removed
    }

    fn visit(&self, levels: &[&str], each: &mut impl FnMut(&T)) {
        // `a/#` covers `a` as well.
        if let Some(all) = self.get("#") {
            all.here.iter().for_each(&mut *each);
        }
        let Some((name, rest)) = levels.split_first() else {
            return self.here.iter().for_each(each);
        };
        for level in [self.get(name), self.get("+")].into_iter().flatten() {
            level.visit(rest, each);
        }
    }

    fn covers(&self, levels: &[&str]) -> bool {
        // A level is there only where somebody subscribes at it or below.
        if self.get("#").is_some() {
            return true;
        }
        let Some((name, rest)) = levels.split_first() else { return !self.here.is_empty() };
        [self.get(name), self.get("+")].into_iter().flatten().any(|level| level.covers(rest))
    }

    fn clear(self, each: &mut impl FnMut(T)) {
        self.here.into_iter().for_each(&mut *each);
        self.below.into_iter().flat_map(|below| below.into_values()).for_each(|level| level.clear(each));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topic::covers;

    fn levels(of: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(of), 1..4).prop_map(|levels| levels.join("/"))
    }

    proptest! {
        #[test]
        fn the_tree_finds_whom_the_standard_says(
            filters in prop::collection::vec((levels(&["a", "b", "+", ""]), any::<bool>()), 1..12),
            topic in levels(&["a", "b", ""]),
            gone in any::<prop::sample::Index>(),
        ) {
            let filters: Vec<String> =
                filters.into_iter().map(|(filter, all)| if all { filter + "/#" } else { filter }).collect();
            let mut tree = Filters::default();
            for (number, filter) in filters.iter().enumerate() {
                tree.insert(filter, number);
            }
            let gone = gone.index(filters.len());
            tree.remove(&filters[gone], |number| *number == gone);
            prop_assert_eq!(tree.count(), filters.len() - 1);
            prop_assert_eq!(tree.covers(&topic), {
                let mut any = false;
                tree.visit(&topic, &mut |_| any = true);
                any
            });
            let mut found = Vec::new();
            tree.visit(&topic, &mut |number| found.push(*number));
            found.sort_unstable();
            let covering = |number: &usize| *number != gone && covers(&filters[*number], &topic);
            let expected: Vec<usize> = (0..filters.len()).filter(covering).collect();
            prop_assert_eq!(found, expected);
            for (number, filter) in filters.iter().enumerate() {
                tree.remove(filter, |it| *it == number);
            }
            prop_assert!(tree.root.below.is_none() && (tree.count(), tree.bytes()) == (0, 0));
        }
    }
}
