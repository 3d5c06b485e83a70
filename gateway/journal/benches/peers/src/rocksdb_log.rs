//! RocksDB: each batch is written with `sync`.

use std::ffi::{CStr, CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null_mut;

use crate::engine::{Engine, Entry, Outcome};
use crate::rocksdb_c::*;

/// All pointers come from RocksDB, are not null, and are its own until they are destroyed here, once.
pub(crate) struct RocksDbLog {
    db: *mut Db,
    write: *mut WriteOptions,
    flush: *mut FlushOptions,
    batch: *mut WriteBatch,
}

impl RocksDbLog {
    pub(crate) fn open(folder: &Path) -> Outcome<Self> {
        let name = CString::new(folder.as_os_str().as_bytes())?;
        let mut error = null_mut();
        // SAFETY: the options are made and destroyed here; the name ends with a zero and outlives the call.
        let db = unsafe {
            let options = rocksdb_options_create();
            rocksdb_options_set_create_if_missing(options, 1);
            let db = rocksdb_open(options, name.as_ptr(), &raw mut error);
            rocksdb_options_destroy(options);
            db
        };
        said(error)?;
        // SAFETY: these take nothing; what they give is destroyed when this is dropped.
        unsafe {
            let (write, flush) = (rocksdb_writeoptions_create(), rocksdb_flushoptions_create());
            rocksdb_writeoptions_set_sync(write, 1);
            rocksdb_flushoptions_set_wait(flush, 1);
            Ok(Self { db, write, flush, batch: rocksdb_writebatch_create() })
        }
    }
}

impl Engine for RocksDbLog {
    fn commit(&mut self, entries: &[Entry<'_>]) -> Outcome<()> {
        for entry in entries {
            let (key, value) = (entry.key(), entry.value());
            let (key_at, value_at) = (key.as_ptr().cast(), value.as_ptr().cast());
            // SAFETY: the batch copies both, whose lengths are given.
            unsafe { rocksdb_writebatch_put(self.batch, key_at, key.len(), value_at, value.len()) };
        }
        let mut error = null_mut();
        // SAFETY: all three are open, and used by nobody else meanwhile (`&mut self`).
        unsafe {
            rocksdb_write(self.db, self.write, self.batch, &raw mut error);
            rocksdb_writebatch_clear(self.batch);
        }
        said(error)
    }

    fn settle(&mut self) -> Outcome<()> {
        let mut error = null_mut();
        // SAFETY: both are open.
        unsafe { rocksdb_flush(self.db, self.flush, &raw mut error) };
        said(error)
    }
}

impl Drop for RocksDbLog {
    fn drop(&mut self) {
        // SAFETY: each is destroyed once, the database last.
        unsafe {
            rocksdb_writebatch_destroy(self.batch);
            rocksdb_flushoptions_destroy(self.flush);
            rocksdb_writeoptions_destroy(self.write);
            rocksdb_close(self.db);
        }
    }
}

/// What RocksDB said, if it said something.
fn said(error: *mut c_char) -> Outcome<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a text of RocksDB's that ends with a zero, read once and then given back.
    let text = unsafe {
        let text = CStr::from_ptr(error).to_string_lossy().into_owned();
        rocksdb_free(error.cast());
        text
    };
    Err(format!("RocksDB: {text}").into())
}
