//! What is known of a topic of the cluster.

use std::sync::Arc;

use lamppost_event::{Stored, Topic};

use crate::bounds::Bounds;
use crate::care::Hearing;
use crate::schema::Encoder;

/// Where a topic's events go.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) name: Topic,
    pub(crate) partitions: u16,
    pub(crate) bounds: Bounds,
    /// `None`: payloads go as received.
    pub(crate) encoder: Option<Arc<Encoder>>,
    /// What this producer has been acknowledged there.
    pub(crate) hearing: Hearing,
}

impl Target {
    /// What goes out of an event, made in `room` where it is not the payload as received; else why it can't be made.
    pub(crate) fn payload<'a>(
        &self,
        stored: &'a Stored,
        bytes_max: usize,
        room: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], String> {
        match &self.encoder {
            Some(encoder) if stored.event.reason.is_none() => {
                encoder.encode(&stored.event.payload, bytes_max, room).map(|()| room.as_slice())
            }
            _ => Ok(&stored.event.payload),
        }
    }
}
