//! x
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic; its helper functions too")]

#[path = "golden/history.rs"]
mod history;
#[path = "golden/ledger.rs"]
mod ledger;

#[test]
fn probe() {
    use lamppost_journal::sim::SimDisk;
    use lamppost_journal::*;
    for (what, made) in [("closed", history::closed()), ("cut", history::cut())] {
        let text = ledger::to_text(&[(what.to_owned(), made.ledger)].into());
        println!("{what}: {} bytes of ledger", text.len());
        let disk = SimDisk::new(1);
        for (name, bytes) in &made.files {
            println!("{name} {}", bytes.len());
            disk.create_zeroed(name, bytes.len() as u64).unwrap().write_at(bytes, 0).unwrap();
        }
        for name in made.files.keys().filter(|n| n.starts_with("hot") || n.starts_with("cold")) {
            println!("== {name}");
            SegmentFile::open(&disk, name)
                .unwrap()
                .places(&mut |place| {
                    match place {
                        Place::Frame(f) => println!(
                            "{} {}..{} {} {:?} {:?}",
                            f.byte,
                            f.first,
                            f.commit,
                            f.kind,
                            f.flags,
                            f.batches
                                .iter()
                                .map(|b| format!("{} {}-{} {:?}", b.at, b.base, b.next, b.compression))
                                .collect::<Vec<_>>()
                        ),
                        other => println!("{other:?}"),
                    }
                    Ok::<_, ()>(())
                })
                .unwrap();
        }
        let inspect = Inspect::open(std::sync::Arc::new(disk.clone())).unwrap();
        println!("{:#?}", inspect.figures());
        println!("{:#?}", inspect.verify(&mut |_, _| {}).unwrap());
        std::fs::write(format!("/tmp/w/x-{what}.json"), text).unwrap();
    }
}
