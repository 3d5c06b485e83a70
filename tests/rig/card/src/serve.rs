//! The card as two files of a FUSE file system: `disk.img`, whose every write and flush goes to the card, and `stats.json`.
//!
//! One thread serves it: a card does one thing at a time. Nothing is cached by the kernel.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite, Request, Session, SessionACL, WriteFlags,
};

use crate::card::{Card, Refused};

/// The file that is the card.
pub const DISK: &str = "disk.img";
/// The file with its figures.
pub const STATS: &str = "stats.json";

const DISK_INODE: INodeNo = INodeNo(2);
const STATS_INODE: INodeNo = INodeNo(3);
const WRITE_BYTES_MAX: u32 = 1 << 20;
/// Sizes don't change, and figures are never asked of the attributes.
const ATTRIBUTES_HOLD: Duration = Duration::from_secs(3600);

/// Serves the card at the folder `at` until the session is dropped.
///
/// # Errors
/// FUSE can't be mounted there.
pub fn serve(card: Arc<Card>, at: &Path) -> io::Result<BackgroundSession> {
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("lamppost-card".to_owned()), MountOption::NoAtime];
    config.acl = SessionACL::All;
    config.n_threads = Some(1);
    Session::new(Files { card }, at, &config)?.spawn()
}

struct Files {
    card: Arc<Card>,
}

impl Files {
    fn attributes(&self, inode: INodeNo) -> Option<FileAttr> {
        let (kind, perm, size) = match inode {
            INodeNo::ROOT => (FileType::Directory, 0o755, 0),
            DISK_INODE => (FileType::RegularFile, 0o600, self.card.bytes()),
            // As files of /proc: read it to its end.
            STATS_INODE => (FileType::RegularFile, 0o444, 0),
            _ => return None,
        };
        let (atime, mtime, ctime, crtime) = (UNIX_EPOCH, UNIX_EPOCH, UNIX_EPOCH, UNIX_EPOCH);
        let (blocks, nlink, uid, gid, rdev, blksize, flags) = (size / 512, 1, 0, 0, 0, 4096, 0);
        let ino = inode;
        Some(FileAttr {
            ino,
            size,
            blocks,
            atime,
            mtime,
            ctime,
            crtime,
            kind,
            perm,
            nlink,
            uid,
            gid,
            rdev,
            blksize,
            flags,
        })
    }

    fn stats(&self, offset: u64, size: u32) -> Vec<u8> {
        let mut line = serde_json::to_vec(&self.card.figures()).unwrap_or_default();
        line.push(b'\n');
        let rest = usize::try_from(offset).ok().and_then(|from| line.get(from..)).unwrap_or_default();
        // A reader that asked for less gets no more than that: the kernel takes more for an error.
        rest.iter().take(size as usize).copied().collect()
    }

    /// Reads of the card that go beyond its end are cut short, as of any file.
    fn disk(&self, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let bytes = u64::from(size).min(self.card.bytes().saturating_sub(offset));
        let mut buffer = vec![0; usize::try_from(bytes).map_err(|_| Errno::EINVAL)?];
        self.card.read(&mut buffer, offset).map_err(|_| Errno::EIO)?;
        Ok(buffer)
    }
}

impl Filesystem for Files {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        config.set_max_write(WRITE_BYTES_MAX).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let inode = match name.to_str() {
            Some(DISK) => DISK_INODE,
            Some(STATS) => STATS_INODE,
            _ => INodeNo(0),
        };
        match self.attributes(inode).filter(|_| parent == INodeNo::ROOT) {
            Some(attributes) => reply.entry(&ATTRIBUTES_HOLD, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino) {
            Some(attributes) => reply.attr(&ATTRIBUTES_HOLD, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if ino == STATS_INODE && flags.acc_mode() != fuser::OpenAccMode::O_RDONLY {
            return reply.error(Errno::EACCES);
        }
        reply.opened(FileHandle(ino.0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = match ino {
            DISK_INODE => self.disk(offset, size),
            STATS_INODE => Ok(self.stats(offset, size)),
            _ => Err(Errno::EISDIR),
        };
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if ino != DISK_INODE {
            return reply.error(Errno::EACCES);
        }
        match self.card.write(data, offset) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(Refused::Off) => reply.error(Errno::EIO),
            Err(Refused::BeyondEnd | Refused::RecordFull) => reply.error(Errno::ENOSPC),
        }
    }

    fn fsync(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        match if ino == DISK_INODE { self.card.flush() } else { Ok(()) } {
            Ok(()) => reply.ok(),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn flush(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _lock_owner: LockOwner, reply: ReplyEmpty) {
        // A closed handle: no flush of the card.
        reply.ok();
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        if ino != INodeNo::ROOT {
            return reply.error(Errno::ENOTDIR);
        }
        let names = [
            (INodeNo::ROOT, FileType::Directory, "."),
            (INodeNo::ROOT, FileType::Directory, ".."),
            (DISK_INODE, FileType::RegularFile, DISK),
            (STATS_INODE, FileType::RegularFile, STATS),
        ];
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        for (next, (inode, kind, name)) in (1..).zip(names).skip(from) {
            if reply.add(inode, next, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
