//! From a topic to those whose filters cover it: a tree with a level of filters at each depth, so that what one publish costs
//! does not grow with the number of sessions.

use std::collections::HashMap;

/// The tree. `T` is who subscribes.
pub(super) struct Filters<T> {
    root: Level<T>,
    count: usize,
}

struct Level<T> {
    below: HashMap<Box<str>, Self>,
    here: Vec<T>,
}

impl<T> Default for Level<T> {
    fn default() -> Self {
        Self { below: HashMap::new(), here: Vec::new() }
    }
}

impl<T> Default for Filters<T> {
    fn default() -> Self {
        Self { root: Level::default(), count: 0 }
    }
}

impl<T> Filters<T> {
    /// How many were put in.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn insert(&mut self, filter: &str, who: T) {
        let last = filter.split('/').fold(&mut self.root, |level, name| level.below.entry(name.into()).or_default());
        last.here.push(who);
        self.count += 1;
    }

    /// Takes out whoever `is_it` says, and the levels that nobody is left in.
    pub(super) fn remove(&mut self, filter: &str, is_it: impl Fn(&T) -> bool) {
        let levels: Vec<&str> = filter.split('/').collect();
        self.count -= self.root.remove(&levels, &is_it);
    }

    /// Tells `each` who subscribes to the topic, once for each of his filters that covers it. The topic does not begin with `$`.
    pub(super) fn visit(&self, topic: &str, each: &mut impl FnMut(&T)) {
        let levels: Vec<&str> = topic.split('/').collect();
        self.root.visit(&levels, each);
    }
}

impl<T> Level<T> {
    fn remove(&mut self, levels: &[&str], is_it: &impl Fn(&T) -> bool) -> usize {
        let Some((name, rest)) = levels.split_first() else {
            let before = self.here.len();
            self.here.retain(|who| !is_it(who));
            return before - self.here.len();
        };
        let Some(level) = self.below.get_mut(*name) else { return 0 };
        let removed = level.remove(rest, is_it);
        if level.here.is_empty() && level.below.is_empty() {
            self.below.remove(*name);
        }
        removed
    }

    fn visit(&self, levels: &[&str], each: &mut impl FnMut(&T)) {
        // `a/#` covers `a` as well.
        if let Some(all) = self.below.get("#") {
            all.here.iter().for_each(&mut *each);
        }
        let Some((name, rest)) = levels.split_first() else {
            return self.here.iter().for_each(each);
        };
        for level in [self.below.get(*name), self.below.get("+")].into_iter().flatten() {
            level.visit(rest, each);
        }
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
            let mut found = Vec::new();
            tree.visit(&topic, &mut |number| found.push(*number));
            found.sort_unstable();
            let covering = |number: &usize| *number != gone && covers(&filters[*number], &topic);
            let expected: Vec<usize> = (0..filters.len()).filter(covering).collect();
            prop_assert_eq!(found, expected);
            for (number, filter) in filters.iter().enumerate() {
                tree.remove(filter, |it| *it == number);
            }
            prop_assert!(tree.root.below.is_empty() && tree.count() == 0);
        }
    }
}
