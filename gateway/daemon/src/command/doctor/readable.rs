//! Whether the gateway's user may read the files that the configuration names. Who asks the doctor is mostly root, who may read all of them:
//! a key that is root's alone looks right to everything else, and the service does not start.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::cluster::clusters;
use super::finding::Finding;
use super::machine::Machine;
use super::people::{User, group_name};
use crate::config::{AclFrom, Config, is_handed_over};

/// What a user needs of a file, and of each folder on the way to it.
const READ: u32 = 0o4;
const ENTER: u32 = 0o1;

/// What is named in the configuration. What is added to it with a file in it is added here.
fn files(config: &Config) -> BTreeSet<PathBuf> {
    let mut files = Vec::new();
    if let Some(mqtt) = &config.mqtt {
        files.extend(mqtt.passwords.clone());
        if let AclFrom::File(path) = &mqtt.rules {
            files.push(path.clone());
        }
        for tls in mqtt.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
            files.extend([tls.certificate.clone(), tls.key.clone()]);
            files.extend([&tls.client_ca, &tls.crl].into_iter().flatten().cloned());
        }
    }
    for broker in &config.brokers {
        files.extend(broker.login.as_ref().and_then(|login| login.password.clone()));
        if let Some(tls) = &broker.tls {
            files.push(tls.ca.clone());
            files.extend(tls.own.iter().flat_map(|(certificate, key)| [certificate.clone(), key.clone()]));
        }
    }
    for kafka in clusters(config).into_iter().map(|cluster| cluster.kafka) {
        files.extend(kafka.security.sasl.iter().map(|login| login.password.clone()));
        if let Some(tls) = &kafka.security.tls {
            files.extend(tls.ca.clone());
            if let Some(own) = &tls.own {
                files.extend([own.certificate.clone(), own.key.clone()]);
                files.extend(own.key_password.clone());
            }
        }
        if let Some(encoding) = &kafka.encoding {
            files.extend(encoding.registry.ca.clone());
            files.extend(encoding.registry.login.iter().map(|login| login.password.clone()));
            files.extend(encoding.rules.iter().map(|rule| rule.file.clone()));
        }
    }
    // The unit hands these over to its user itself.
    files.into_iter().filter(|path| !is_handed_over(path)).collect()
}

/// Looks at the configuration itself, which is at `path`, and at all of them. One that is not there is told where it is used.
pub(crate) fn look(machine: &Machine, path: &Path, config: &Config, user: &User) -> Vec<Finding> {
    let mut files = files(config);
    files.extend(std::path::absolute(path));
    let barred: Vec<_> = files.iter().filter_map(|file| judge(machine, file, user)).collect();
    if barred.is_empty() {
        return vec![Finding::ok(
            "files",
            format!("{} may read the {} files of the configuration", user.name, files.len()),
        )];
    }
    barred
}

fn judge(machine: &Machine, file: &Path, user: &User) -> Option<Finding> {
    let bar = bar(machine, file, user)?;
    let meta = machine.metadata(&bar)?;
    let (name, place, shown) = (&user.name, bar.display(), file.display());
    let group = user.gids.first().map_or_else(|| name.clone(), |gid| group_name(machine, *gid));
    let at = format!("{place}: mode {:o}, owner {}, group {}", meta.mode() & 0o7777, meta.uid(), meta.gid());
    let found = format!("{shown} can't be read by {name} ({at})");
    let remedy = if meta.is_dir() {
        format!("put it where {name} may go, as below /etc/lamppost; or: chgrp {group} {place} && chmod g+x {place}")
    } else {
        format!("chgrp {group} {place} && chmod g+r {place}")
    };
    Some(Finding::fail("files", found, remedy))
}

/// The first folder on the way that the user may not enter, or the file, if it may not be read. With links, both ways count.
fn bar(machine: &Machine, file: &Path, user: &User) -> Option<PathBuf> {
    let real = machine.real(file)?;
    let needed = |path: &Path, end: &Path| if path == end { READ } else { ENTER };
    [file, &real].into_iter().find_map(|way| {
        let mut steps: Vec<_> = way.ancestors().collect();
        steps.reverse();
        let barred = |path: &&Path| {
            machine
                .metadata(path)
                .is_some_and(|meta| !user.may(&meta, needed(path, way)) && !has_list(machine, path, &meta))
        };
        steps.into_iter().find(barred).map(Path::to_owned)
    })
}

/// Whether an access list (acl(5)) says more than the mode does: what has one is not judged.
fn has_list(machine: &Machine, path: &Path, meta: &Metadata) -> bool {
    !meta.is_symlink() && rustix::fs::getxattr(machine.path(path), "system.posix_acl_access", &mut [0_u8; 0]).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::finding::Level;
    use super::super::machine::model::Modelled;
    use super::*;

    /// Somebody who owns nothing, in a group of nothing.
    fn somebody() -> User {
        User { name: "lamppost".to_owned(), uid: 4_000_000, gids: vec![4_000_000] }
    }

    fn set(machine: &Machine, path: &str, mode: u32) {
        std::fs::set_permissions(machine.path(Path::new(path)), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn modelled() -> (Modelled, Machine) {
        let modelled =
            Modelled::new(&[("/etc/ssl/private/post.key", "a key"), ("/etc/group", "lamppost:x:4000000:\n")]);
        let machine = modelled.machine();
        for (path, mode) in [("/", 0o755), ("/etc", 0o755), ("/etc/ssl", 0o755), ("/etc/ssl/private", 0o755)] {
            set(&machine, path, mode);
        }
        (modelled, machine)
    }

    const KEY: &str = "/etc/ssl/private/post.key";

    #[test]
    fn a_key_that_is_its_owners_alone_fails_for_the_gateways_user() {
        let (_modelled, machine) = modelled();
        set(&machine, KEY, 0o600);
        let told = judge(&machine, Path::new(KEY), &somebody()).unwrap();
        assert!(told.level == Level::Fail && told.found.contains("can't be read by lamppost"), "{told:?}");
        assert_eq!(told.remedy.unwrap(), format!("chgrp lamppost {KEY} && chmod g+r {KEY}"));
        let root = User { uid: 0, ..somebody() };
        assert_eq!(judge(&machine, Path::new(KEY), &root), None);
        set(&machine, KEY, 0o604);
        assert_eq!(judge(&machine, Path::new(KEY), &somebody()), None);
        assert_eq!(judge(&machine, Path::new("/etc/none"), &somebody()), None, "told where it is used");
    }

    #[test]
    fn a_folder_that_may_not_be_entered_bars_what_is_in_it_also_by_a_link() {
        let (_modelled, machine) = modelled();
        set(&machine, KEY, 0o604);
        set(&machine, "/etc/ssl/private", 0o700);
        let link = "/etc/post.key";
        std::os::unix::fs::symlink("ssl/private/post.key", machine.path(Path::new(link))).unwrap();
        for path in [KEY, link] {
            let told = judge(&machine, Path::new(path), &somebody()).unwrap();
            assert!(told.found.contains(path) && told.found.contains("/etc/ssl/private: mode 700"), "{told:?}");
            assert!(told.remedy.unwrap().starts_with("put it where lamppost may go"));
        }
    }

    #[test]
    fn what_has_an_access_list_is_not_judged() {
        let (_modelled, machine) = modelled();
        set(&machine, KEY, 0o600);
        // Version 2; owner rw, user 4000000 r, group none, mask r, others none (acl(5), linux/posix_acl_xattr.h).
        let entries: [(u16, u16, u32); 5] =
            [(0x01, 6, u32::MAX), (0x02, 4, 4_000_000), (0x04, 0, u32::MAX), (0x10, 4, u32::MAX), (0x20, 0, u32::MAX)];
        let entry = |(tag, may, who): (u16, u16, u32)| {
            [&tag.to_le_bytes()[..], &may.to_le_bytes(), &who.to_le_bytes()].concat()
        };
        let list: Vec<u8> = 2_u32.to_le_bytes().into_iter().chain(entries.into_iter().flat_map(entry)).collect();
        let path = machine.path(Path::new(KEY));
        rustix::fs::setxattr(&path, "system.posix_acl_access", &list, rustix::fs::XattrFlags::empty()).unwrap();
        assert_eq!(judge(&machine, Path::new(KEY), &somebody()), None);
    }

    #[test]
    fn every_file_of_the_configuration_is_looked_at_but_what_the_unit_hands_over() {
        let config = crate::config::parse(
            "[mqtt]\npasswords = \"/a\"\nacl_file = \"/b\"\n\
             [[mqtt.listener]]\nlisten = \"127.0.0.1:8883\"\ncertificate = \"/c\"\nkey = \"/d\"\nclient_ca = \"/e\"\ncrl = \"/f\"\n\
             [[broker]]\nname = \"plant\"\nurl = \"mqtts://h\"\nsubscribe = [\"#\"]\nca_file = \"/g\"\ncertificate_file = \"/h\"\nkey_file = \"/i\"\n\
             user = \"u\"\npassword_file = \"/j\"\n\
             [kafka]\nbootstrap = [\"h:1\"]\n[kafka.tls]\nca = \"/k\"\ncertificate = \"/l\"\nkey = \"/m\"\nkey_password_file = \"/n\"\n\
             [kafka.sasl]\nmechanism = \"PLAIN\"\nuser = \"u\"\ncredential = \"kafka-password\"\n\
             [[sink]]\nname = \"second\"\n[sink.kafka]\nbootstrap = [\"h:2\"]\n[sink.kafka.tls]\nca = \"/o\"\n\
             [sink.kafka.sasl]\nmechanism = \"PLAIN\"\nuser = \"u\"\npassword_file = \"/p\"\n\
             [sink.kafka.schema_registry]\nurl = \"https://h\"\nca = \"/q\"\nuser = \"u\"\npassword_file = \"/r\"\n\
             [[sink.kafka.schema]]\ntopics = [\"*\"]\nformat = \"avro\"\nfile = \"/s\"\n",
        )
        .unwrap();
        let paths: Vec<_> = files(&config).iter().map(|path| path.display().to_string()).collect();
        let wanted: Vec<_> = ('a'..='s').map(|letter| format!("/{letter}")).collect();
        assert_eq!(paths, wanted);
    }
}
