use super::*;
use crate::codec::Version;

fn connect<'a>(client_id: &'a str, user: Option<&'a str>) -> Connect<'a> {
    Connect {
        version: Version::V5,
        clean: true,
        keep_alive_s: 0,
        client_id,
        will: None,
        session_expiry_s: 0,
        receive_maximum: 1,
        packet_bytes_max: None,
        topic_alias_maximum: 0,
        problem_information: true,
        authentication_method: None,
        user,
        password: user.map(|_| Secret(b"xyzzy")),
    }
}

fn with_passwords() -> Rules {
    Rules { passwords: Some(Arc::default()), acl: Arc::default() }
}

const BY_CERTIFICATE: Entry =
    Entry { anonymous: false, password: false, identity: Some(IdentityFrom::CommonName), client_id_is_user: false };

fn refused(entry: Entry, connect: &Connect<'_>, certified: Option<&str>, rules: &Rules) -> Cause {
    let certified = certified.map(|name| DeviceId::new(name).unwrap());
    entry.look(connect, certified.as_ref(), rules).unwrap_err().cause
}

#[test]
fn a_certificate_names_the_client_and_the_user() {
    let lamp = DeviceId::new("lamp-7").unwrap();
    for client_id in ["lamp-7", ""] {
        let connect = connect(client_id, None);
        let look = BY_CERTIFICATE.look(&connect, Some(&lamp), &Rules::default()).unwrap();
        assert_eq!((look.user.as_deref(), look.client_id.as_ref()), (Some("lamp-7"), Some(&lamp)));
        assert!(look.proof.is_none());
    }
    assert_eq!(refused(BY_CERTIFICATE, &connect("lamp-8", None), Some("lamp-7"), &Rules::default()), Cause::Identity);
    assert_eq!(refused(BY_CERTIFICATE, &connect("lamp-7", None), None, &Rules::default()), Cause::Certificate);
}

#[test]
fn certificate_and_password_are_both_asked_for_where_both_are_set() {
    let both = Entry { password: true, ..BY_CERTIFICATE };
    assert_eq!(refused(both, &connect("lamp-7", None), Some("lamp-7"), &with_passwords()), Cause::Credentials);
    assert_eq!(refused(both, &connect("lamp-7", Some("anna")), None, &with_passwords()), Cause::Certificate);
    assert_eq!(refused(both, &connect("lamp-7", Some("anna")), Some("lamp-7"), &Rules::default()), Cause::Credentials);
    let lamp = DeviceId::new("lamp-7").unwrap();
    let connect = connect("lamp-7", Some("anna"));
    let look = both.look(&connect, Some(&lamp), &with_passwords()).unwrap();
    assert_eq!((look.user.as_deref(), look.proof.map(|(user, _)| user)), (Some("anna"), Some("anna")));
}

#[test]
fn no_entry_but_an_anonymous_one_lets_in_without_a_proof() {
    for anonymous in [false, true] {
        for password in [false, true] {
            for identity in [None, Some(IdentityFrom::Uri)] {
                for client_id_is_user in [false, true] {
                    let entry = Entry { anonymous, password, identity, client_id_is_user };
                    for rules in [Rules::default(), with_passwords()] {
                        let connect = connect("d", None);
                        let look = entry.look(&connect, None, &rules);
                        assert!(look.is_err() || anonymous, "{entry:?}");
                        assert!(look.is_err() || identity.is_none(), "{entry:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_secret_is_not_in_the_debug_form() {
    let shown = format!("{:?}", connect("d", Some("anna")));
    assert!(shown.contains("anna") && !shown.contains("xyzzy") && !shown.contains("120, 121"), "{shown}");
}
