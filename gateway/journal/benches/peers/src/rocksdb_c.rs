//! The few functions of RocksDB's C interface that are used (`rocksdb/c.h`). An error is a text that C's `free` gives back.

use std::ffi::{c_char, c_uchar, c_void};

macro_rules! opaque {
    ($($name:ident)*) => {
        $(#[repr(C)]
        pub(crate) struct $name {
            _private: [u8; 0],
        })*
    };
}

opaque!(Db Options WriteOptions WriteBatch FlushOptions);

unsafe extern "C" {
    pub(crate) fn rocksdb_options_create() -> *mut Options;
    pub(crate) fn rocksdb_options_destroy(options: *mut Options);
    pub(crate) fn rocksdb_options_set_create_if_missing(options: *mut Options, yes: c_uchar);
    pub(crate) fn rocksdb_open(options: *const Options, name: *const c_char, error: *mut *mut c_char) -> *mut Db;
    pub(crate) fn rocksdb_close(db: *mut Db);
    pub(crate) fn rocksdb_writeoptions_create() -> *mut WriteOptions;
    pub(crate) fn rocksdb_writeoptions_destroy(options: *mut WriteOptions);
    pub(crate) fn rocksdb_writeoptions_set_sync(options: *mut WriteOptions, yes: c_uchar);
    pub(crate) fn rocksdb_writebatch_create() -> *mut WriteBatch;
    pub(crate) fn rocksdb_writebatch_destroy(batch: *mut WriteBatch);
    pub(crate) fn rocksdb_writebatch_clear(batch: *mut WriteBatch);
    pub(crate) fn rocksdb_writebatch_put(
        batch: *mut WriteBatch,
        key: *const c_char,
        key_bytes: usize,
        value: *const c_char,
        value_bytes: usize,
    );
    pub(crate) fn rocksdb_write(
        db: *mut Db,
        options: *const WriteOptions,
        batch: *mut WriteBatch,
        error: *mut *mut c_char,
    );
    pub(crate) fn rocksdb_flushoptions_create() -> *mut FlushOptions;
    pub(crate) fn rocksdb_flushoptions_destroy(options: *mut FlushOptions);
    pub(crate) fn rocksdb_flushoptions_set_wait(options: *mut FlushOptions, yes: c_uchar);
    pub(crate) fn rocksdb_flush(db: *mut Db, options: *const FlushOptions, error: *mut *mut c_char);
    pub(crate) fn rocksdb_free(text: *mut c_void);
}
