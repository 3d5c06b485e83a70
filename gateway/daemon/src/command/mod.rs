//! One file a command.

pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod clients;
pub(crate) mod journal;
pub(crate) mod passwd;
pub(crate) mod publish;
pub(crate) mod run;
pub(crate) mod status;
