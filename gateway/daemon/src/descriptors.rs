//! File descriptors: each connection needs one, and the soft limit that programs start with is often 1024.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the program itself may need beside its connections.
const OF_OUR_OWN: u64 = 256;

/// Raises the limit to what the system allows, and returns it.
pub(crate) fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let Some(hard) = limit.maximum else { return u64::MAX };
    match setrlimit(Resource::Nofile, Rlimit { current: Some(hard), maximum: Some(hard) }) {
        Ok(()) => hard,
        Err(_) => limit.current.unwrap_or(u64::MAX),
    }
}

/// Why so many connections can't be held with so many descriptors, and what to do.
pub(crate) fn too_few(allowed: u64, connections: u64) -> Option<String> {
    let needed = connections.saturating_add(OF_OUR_OWN);
    (allowed < needed).then(|| {
        format!(
            "{connections} connections need {needed} file descriptors and {allowed} are allowed: raise the hard limit (ulimit -Hn {needed} as root, \
             or LimitNOFILE={needed} in the unit of systemd)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_too_few_descriptors_is_told_how_many_are_needed_and_where_to_set_them() {
        assert_eq!(too_few(1256, 1000), None);
        let told = too_few(1255, 1000).unwrap();
        assert!(
            told.contains("1256 file descriptors and 1255 are allowed") && told.contains("LimitNOFILE=1256"),
            "{told}"
        );
    }

    #[test]
    fn the_limit_is_what_it_was_raised_to() {
        let raised = raise();
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), raised);
    }
}
