//! Both ends against each other over a line that loses, cuts, flips, doubles and delays, while both are reset at any
//! moment. The judge is the simulated node's own ledger. One seed gives one run.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "outside `#[test]` functions too, a test fails by panicking"
)]

#[path = "simulation/clockwork.rs"]
mod clockwork;
#[path = "simulation/line.rs"]
mod line;
#[path = "simulation/world.rs"]
mod world;

use world::{Kind, World};

/// Seeds run for each kind of node, unless `LINK_SEEDS` says another number.
const SEEDS: u64 = 700;
/// And for the kind that is meant to be built.
const SEEDS_OF_PERSISTENT: u64 = 2_000;
/// Seeds of far away that once went wrong: a reading that the node had dropped came back lives later, as an echo of the line, behind
/// readings of a later life.
const BROKEN_ONCE: [u64; 4] = [4_333, 5_796, 9_704, 15_384];

fn run(kind: Kind) {
    let few = if kind == Kind::Persistent { SEEDS_OF_PERSISTENT } else { SEEDS };
    let seeds = std::env::var("LINK_SEEDS").map_or(few, |seeds| seeds.parse().expect("LINK_SEEDS is a number"));
    let mut all = world::Tally::default();
    for seed in (0..seeds).chain(BROKEN_ONCE) {
        let mut world = World::new(seed, kind);
        world.live();
        world.heal_and_drain();
        world.judge();
        all.add(&world.tally());
    }
    println!("{kind:?}, seeds 0 to {}: {all:?}", seeds - 1);
    all.assert_everything_happened(kind);
}

#[test]
fn a_node_that_counts_its_resets_and_keeps_its_readings_loses_none() {
    run(Kind::Persistent);
}

#[test]
fn a_node_that_can_not_count_its_resets_never_has_two_readings_taken_for_one() {
    run(Kind::Forgetful);
}

#[test]
fn a_node_that_wrongly_gives_each_life_the_same_number_is_given_another() {
    run(Kind::Liar);
}

#[test]
fn a_node_whose_memory_is_wiped_and_that_counts_on_from_a_number_drawn_at_random_loses_no_more_than_was_wiped() {
    run(Kind::Wiped);
}

#[test]
fn a_node_that_was_wiped_and_counts_through_its_old_numbers_anew_does_not_go_round_for_ever() {
    run(Kind::Recounting);
}

#[test]
fn one_seed_gives_one_run() {
    let history = |seed| {
        let mut world = World::new(seed, Kind::Persistent);
        world.live();
        world.heal_and_drain();
        format!("{:?} {:?}", world.tally(), world.journal())
    };
    assert_eq!(history(7), history(7));
    assert_ne!(history(7), history(8));
}
