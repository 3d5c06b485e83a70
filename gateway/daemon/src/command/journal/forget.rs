//! `lamppost journal forget`: a group goes that no sink has any more.

use std::io::Write;

use lamppost_forward::LaneGroups;
use serde_json::json;

use super::{configured, folder, take};
use crate::cli::Forget;
use crate::gateway::{known_groups, sink_names};

pub(super) fn forget(args: &Forget, out: &mut impl Write) -> anyhow::Result<()> {
    let config = configured(&args.of)?;
    let group = &args.group;
    let is = if sink_names(&config).contains(group) { "is" } else { "belongs to" };
    anyhow::ensure!(
        !known_groups(&config).contains(group),
        "{group} {is} a sink of {}: remove it there first, or move its cursors with lamppost journal reset",
        args.of.config.display()
    );
    let journal = take(&config, &folder(&args.of)?)?;
    let names: Vec<String> = journal.groups().into_iter().map(|(group, _)| group.as_str().to_owned()).collect();
    // Its lanes first: with them alone, a sink of that name would take what it never had for delivered.
    let lanes = LaneGroups::of(group).into_iter().flat_map(|lanes| [lanes.live, lanes.horizon]);
    let lanes: Result<Vec<_>, _> = lanes.map(|lane| journal.forget_group(&lane)).collect();
    let forgotten = lanes.and_then(|_| journal.forget_group(group));
    // Whatever came of it, the journal ends cleanly: that makes it durable.
    journal.close()?;
    anyhow::ensure!(forgotten?, "no group is called {group}; there are: {}", names.join(", "));
    if args.of.json {
        writeln!(out, "{}", json!({ "forgotten": group }))?;
    } else {
        writeln!(out, "{group} is forgotten; a sink of that name would begin at the first event that is kept")?;
    }
    Ok(())
}
