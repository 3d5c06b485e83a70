//! Whom the gateway runs as, and what that user may open: the lines of passwd(5) and group(5), and the bits of a file's mode.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use super::machine::Machine;

/// The user that the unit names.
const OF_THE_SERVICE: &str = "lamppost";

/// A user, with all groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gids: Vec<u32>,
}

impl User {
    /// Whom to look for: where root asks and the service's user is there, that one; else who asks.
    pub(crate) fn of_the_gateway(machine: &Machine) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let (passwd, group) = (text(machine, "/etc/passwd"), text(machine, "/etc/group"));
        if uid == 0
            && let Some(user) = Self::parse(&passwd, &group, |name, _| name == OF_THE_SERVICE)
        {
            return user;
        }
        let known = Self::parse(&passwd, &group, |_, it| it == uid);
        let mut user = known.unwrap_or_else(|| Self { name: format!("user {uid}"), uid, gids: Vec::new() });
        // What the process really has: a group that was joined since its login is not among them.
        user.gids = rustix::process::getgroups().unwrap_or_default().iter().map(|gid| gid.as_raw()).collect();
        user.gids.push(rustix::process::getegid().as_raw());
        user
    }

    fn parse(passwd: &str, group: &str, is_meant: impl Fn(&str, u32) -> bool) -> Option<Self> {
        let mut users = passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            Some((name, uid, fields.next()?.parse::<u32>().ok()?))
        });
        let (name, uid, gid) = users.find(|(name, uid, _)| is_meant(name, *uid))?;
        let member = groups(group).filter(|(_, _, members)| members.split(',').any(|member| member == name));
        let gids = std::iter::once(gid).chain(member.map(|(_, gid, _)| gid)).collect();
        Some(Self { name: name.to_owned(), uid, gids })
    }

    /// Whether the mode lets this user do all of `wanted` (4 read, 2 write, 1 enter).
    pub(crate) fn may(&self, meta: &Metadata, wanted: u32) -> bool {
        self.may_by(meta.uid(), meta.gid(), meta.mode(), wanted)
    }

    fn may_by(&self, owner: u32, group: u32, mode: u32, wanted: u32) -> bool {
        // The first that fits decides, also where a later one would allow more (path_resolution(7)).
        let allowed = match () {
            () if self.uid == 0 => 0o7,
            () if self.uid == owner => mode >> 6,
            () if self.gids.contains(&group) => mode >> 3,
            () => mode,
        };
        allowed & wanted == wanted
    }
}

fn text(machine: &Machine, path: &str) -> String {
    machine.read(path).unwrap_or_default()
}

fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.nth(1)?.parse().ok()?, fields.next().unwrap_or_default()))
    })
}

/// The name of a group.
pub(crate) fn group_name(machine: &Machine, gid: u32) -> String {
    let text = text(machine, "/etc/group");
    groups(&text).find(|(_, it, _)| *it == gid).map_or_else(|| gid.to_string(), |(name, ..)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::machine::model::Modelled;
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nlamppost:x:999:998:Gateway:/var/lib/lamppost:/usr/sbin/nologin\nodd\n";
    const GROUP: &str = "dialout:x:20:pi,lamppost\ni2c:x:106:lamppost\nvideo:x:44:pi\nlamppost:x:998:\n";

    #[test]
    fn a_users_groups_are_its_own_and_those_that_list_it() {
        let user = User::parse(PASSWD, GROUP, |name, _| name == "lamppost").unwrap();
        assert_eq!(user, User { name: "lamppost".to_owned(), uid: 999, gids: vec![998, 20, 106] });
        assert_eq!(User::parse(PASSWD, GROUP, |name, _| name == "odd"), None);
        let machine = Modelled::new(&[("/etc/group", GROUP)]);
        assert_eq!(
            (group_name(&machine.machine(), 106), group_name(&machine.machine(), 7)),
            ("i2c".into(), "7".into())
        );
    }

    #[test]
    fn the_first_of_owner_group_and_others_that_fits_decides() {
        let user = User::parse(PASSWD, GROUP, |name, _| name == "lamppost").unwrap();
        assert!(user.may_by(0, 20, 0o660, 0o6), "by the group");
        assert!(!user.may_by(0, 44, 0o660, 0o6), "not in the group");
        assert!(!user.may_by(999, 20, 0o060, 0o6), "the owner's bits decide, though the group's would do");
        assert!(user.may_by(0, 0, 0o666, 0o6) && !user.may_by(0, 0, 0o664, 0o6));
        assert!(User { uid: 0, ..user }.may_by(5, 5, 0, 0o7), "root");
    }
}
