//! Rules about topics: who may publish and subscribe to what.
//!
//! ```text
//! # effect  who            action                     topic filter, to the end of the line
//! deny      *              subscribe                  city/vault/#
//! allow     user:operator  both                       #
//! allow     *              publish                    city/+/%c/#
//! ```
//!
//! *Who* is `*` (everybody), `anonymous` (without a proof), `user:NAME` or `client:NAME`. In a filter `%c` stands for the
//! client id, `%u` for the user name, `%%` for a percent sign.
//!
//! The first rule that matches decides; where none does, it is refused; where there are no rules at all, everything is
//! allowed. An `allow` matches a subscription only if it covers *all* that the subscription could bring; a `deny` matches one
//! that could bring *anything* it covers. So nothing that is denied first can be had by asking for more.
//!
//! A client id or user name that is empty or contains `+`, `#` or `/`, or begins with `$`, is no level of a topic: an `allow`
//! with its placeholder never matches, a `deny` always does. A rule with `%u` does not concern who has no user name.

mod filter;

use filter::Pattern;

/// Rules in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acl {
    rules: Vec<Rule>,
}

/// A line that is not a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct AclError {
    /// From 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Publish,
    Subscribe,
}

/// Whom a question is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guest<'a> {
    pub(crate) client: &'a str,
    pub(crate) user: Option<&'a str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    allow: bool,
    who: Who,
    publish: bool,
    subscribe: bool,
    pattern: Pattern,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    Everybody,
    Anonymous,
    User(Box<str>),
    Client(Box<str>),
}

/// Rules of a list, at most.
const RULES_MAX: usize = 10_000;

impl Acl {
    /// Reads rules, one a line. Empty lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// The first line that is not a rule.
    pub fn parse(text: &str) -> Result<Self, AclError> {
        let mut rules = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let error = |what| AclError { line: at + 1, what };
            if rules.len() == RULES_MAX {
                return Err(error(format!("more than {RULES_MAX} rules")));
            }
            rules.push(Rule::parse(line).map_err(error)?);
        }
        Ok(Self { rules })
    }

    /// How many rules there are. 0: everything is allowed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether everything is allowed, for want of rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The one question. `topic` is a name for [`Action::Publish`] and a filter for [`Action::Subscribe`].
    pub(crate) fn allows(&self, action: Action, guest: Guest<'_>, topic: &str) -> bool {
        if self.rules.is_empty() {
            return true;
        }
        let decides = |rule: &&Rule| rule.concerns(action, guest) && rule.matches(action, guest, topic);
        self.rules.iter().find(decides).is_some_and(|rule| rule.allow)
    }
}

impl Rule {
    fn parse(line: &str) -> Result<Self, String> {
        let mut rest = line;
        let mut word = || {
            let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            rest = after.trim_start();
            word
        };
        let allow = match word() {
            "allow" => true,
            "deny" => false,
            other => return Err(format!("{other:?} is neither \"allow\" nor \"deny\"")),
        };
        let who = Who::parse(word())?;
        let (publish, subscribe) = match word() {
            "publish" => (true, false),
            "subscribe" => (false, true),
            "both" => (true, true),
            other => return Err(format!("{other:?} is neither \"publish\", \"subscribe\" nor \"both\"")),
        };
        Ok(Self { allow, who, publish, subscribe, pattern: Pattern::parse(rest)? })
    }

    fn concerns(&self, action: Action, guest: Guest<'_>) -> bool {
        let acts = match action {
            Action::Publish => self.publish,
            Action::Subscribe => self.subscribe,
        };
        acts && match &self.who {
            Who::Everybody => true,
            Who::Anonymous => guest.user.is_none(),
            Who::User(name) => guest.user == Some(name),
            Who::Client(name) => guest.client == &**name,
        }
    }

    fn matches(&self, action: Action, guest: Guest<'_>, topic: &str) -> bool {
        if self.pattern.needs_user() && guest.user.is_none() {
            return false;
        }
        if !self.pattern.is_usable(guest) {
            return !self.allow;
        }
        match action {
            Action::Subscribe if !self.allow => self.pattern.meets(guest, topic),
            Action::Publish | Action::Subscribe => self.pattern.covers(guest, topic),
        }
    }
}

impl Who {
    fn parse(word: &str) -> Result<Self, String> {
        match word.split_once(':') {
            _ if word == "*" => Ok(Self::Everybody),
            _ if word == "anonymous" => Ok(Self::Anonymous),
            Some(("user", name)) if !name.is_empty() => Ok(Self::User(name.into())),
            Some(("client", name)) if !name.is_empty() => Ok(Self::Client(name.into())),
            _ => Err(format!("{word:?} is nobody: write *, anonymous, user:NAME or client:NAME")),
        }
    }
}

#[cfg(test)]
mod tests;
