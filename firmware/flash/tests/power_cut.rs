//! Power is lost in each write and each erase of the flash, one after another, over several seeds: no reading that was saved
//! is lost, none is in the journal twice, and boot numbers strictly grow. The line between node and gateway loses, cuts, flips and doubles meanwhile.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "outside `#[test]` functions too, a test fails by panicking"
)]

#[path = "power_cut/flash.rs"]
mod flash;
#[path = "power_cut/life.rs"]
mod life;

use life::World;

/// Seeds for each, unless `FLASH_SEEDS` says another number.
const SEEDS: u64 = 2;

fn cut_everywhere(used: bool) {
    let seeds = std::env::var("FLASH_SEEDS").map_or(SEEDS, |seeds| seeds.parse().expect("FLASH_SEEDS is a number"));
    let mut cuts = 0;
    for seed in 0..seeds {
        let whole = World::new(seed, None, used).live();
        assert!(whole.operations > 100 && whole.dropped > 0 && whole.saved > 40 && whole.spoiled > 20, "{whole:?}");
        assert_eq!((whole.lives, whole.given > 0), (2, used), "{whole:?}");
        // A life with a number of before whose power is lost before it is told so can't be known for another one.
        let first = if used { whole.numbered_at + 1 } else { 1 };
        for cut_at in first..=whole.operations {
            let told = World::new(seed, Some(cut_at), used).live();
            assert!(told.lives >= 2, "{told:?}");
            cuts += 1;
        }
    }
    println!("{cuts} cuts");
}

#[test]
fn power_lost_in_any_write_or_erase_costs_no_saved_reading_and_doubles_none() {
    cut_everywhere(false);
}

#[test]
fn nor_does_it_where_the_gateway_gives_the_life_another_number() {
    cut_everywhere(true);
}
