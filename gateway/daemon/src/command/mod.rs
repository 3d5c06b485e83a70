//! One file a command.

pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod clients;
pub(crate) mod completions;
mod connection;
pub(crate) mod doctor;
pub(crate) mod journal;
pub(crate) mod manpages;
pub(crate) mod node;
pub(crate) mod passwd;
pub(crate) mod publish;
pub(crate) mod run;
mod span;
pub(crate) mod status;
