//! A file for each partition, appended to, with an `fdatasync` of each that a batch touched.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use crate::engine::{Engine, Entry, Outcome};

pub(crate) struct PartitionFiles(Vec<(File, Vec<u8>)>);

impl PartitionFiles {
    pub(crate) fn open(folder: &Path, partitions: u16) -> Outcome<Self> {
        let open = |partition: u16| {
            let path = folder.join(format!("{partition}.log"));
            Ok((OpenOptions::new().create(true).append(true).open(path)?, Vec::new()))
        };
        Ok(Self((0..partitions).map(open).collect::<Outcome<Vec<_>>>()?))
    }
}

impl Engine for PartitionFiles {
    fn commit(&mut self, entries: &[Entry<'_>]) -> Outcome<()> {
        for entry in entries {
            let (_, bytes) = &mut self.0[usize::from(entry.partition)];
            bytes.extend_from_slice(&entry.offset.to_le_bytes());
            bytes.extend_from_slice(&(entry.record.bytes() as u32).to_le_bytes());
            entry.value_to(bytes);
        }
        for (file, bytes) in self.0.iter_mut().filter(|(_, bytes)| !bytes.is_empty()) {
            file.write_all(bytes)?;
            file.sync_data()?;
            bytes.clear();
        }
        Ok(())
    }

    /// Nothing is put off.
    fn settle(&mut self) -> Outcome<()> {
        Ok(())
    }
}
