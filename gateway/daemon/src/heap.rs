//! Memory that is free goes back to the system.
//!
//! glibc keeps a freed block for itself where a later one is still in use. What was in flight while a backlog was worked off is several times its
//! bytes in small blocks; without this the process keeps tens of MiB of it for good, which a board of 64 MB misses in its page cache.

use std::time::Duration;

use tokio::time::sleep;

/// How often. A call takes about a millisecond for each ten MiB that it gives back, and next to nothing where there is nothing.
const EVERY: Duration = Duration::from_secs(60);

/// Gives back what is free, now and then, for ever.
pub(crate) async fn stay_small() {
    loop {
        sleep(EVERY).await;
        // Elsewhere: who allocates from the same heap meanwhile waits.
        drop(tokio::task::spawn_blocking(give_back).await);
    }
}

/// Gives back all whole pages that are free.
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes the allocator's own locks, and no pointer (malloc_trim(3), MT-Safe).
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    fn anonymous_kib() -> Option<u64> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }

    #[test]
    fn what_is_free_between_blocks_in_use_goes_back_to_the_system() {
        // 64 MiB in blocks of a kilobyte; one of 256 stays.
        let mut blocks: Vec<Option<Box<[u8; 1024]>>> = (0..65_536).map(|_| Some(Box::new([7; 1024]))).collect();
        blocks.iter_mut().enumerate().filter(|(n, _)| n % 256 != 255).for_each(|(_, block)| *block = None);
        let kept = anonymous_kib().expect("the kernel tells");
        give_back();
        let left = anonymous_kib().expect("the kernel tells");
        assert!(left + (32 << 10) < kept, "{kept} KiB before, {left} KiB after");
        assert!(blocks.iter().flatten().all(|block| block[0] == 7));
    }
}
