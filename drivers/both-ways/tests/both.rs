//! What the attribute makes of a module.

use core::cell::Cell;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use lamppost_both_ways::both_ways;

/// A wire that answers at once, and one that answers when it is asked a second time.
struct Wire {
    asked: Cell<u32>,
}

struct Answer<'a>(&'a Wire);

impl Future for Answer<'_> {
    type Output = u32;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u32> {
        self.0.asked.set(self.0.asked.get() + 1);
        if self.0.asked.get() < 2 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.0.asked.get())
    }
}

#[both_ways]
mod asynchronous {
    use super::*;

    pub(super) const WAY: &str = stringify!(asynchronous embedded_hal_async embedded_io_async async .await);

    pub(super) struct Chip<B>(pub(super) B);

    impl<B: embedded_hal_async::delay::DelayNs> Chip<B> {
        pub(super) async fn waits(&mut self, times: u32) -> Result<u32, core::convert::Infallible> {
            let mut waited = 0;
            while waited < times {
                self.0.delay_ms(5).await;
                waited += self.once().await?;
            }
            Ok(waited)
        }

        async fn once(&self) -> Result<u32, core::convert::Infallible> {
            Ok(1)
        }
    }

    #[test]
    async fn a_test_runs_in_both() {
        let mut chip = Chip(Waits::default());
        assert_eq!(chip.waits(3).await, Ok(3));
        assert_eq!(chip.0.nanoseconds, 15_000_000);
    }

    #[test]
    #[should_panic(expected = "on purpose")]
    fn an_ordinary_test_stays_one() {
        assert!(WAY.is_empty(), "on purpose");
    }
}

#[derive(Default)]
struct Waits {
    nanoseconds: u64,
}

impl embedded_hal::delay::DelayNs for Waits {
    fn delay_ns(&mut self, ns: u32) {
        self.nanoseconds += u64::from(ns);
    }
}

impl embedded_hal_async::delay::DelayNs for Waits {
    async fn delay_ns(&mut self, ns: u32) {
        let wire = Wire { asked: Cell::new(0) };
        // Not ready at once: whoever does not await it, or polls only once, is caught.
        assert_eq!(Answer(&wire).await, 2);
        self.nanoseconds += u64::from(ns);
    }
}

#[test]
fn the_copy_has_the_names_of_what_blocks_and_the_original_its_own() {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(blocking::WAY), ["blocking", "embedded_hal", "embedded_io"]);
    assert_eq!(words(asynchronous::WAY)[..3], ["asynchronous", "embedded_hal_async", "embedded_io_async"]);
}

#[test]
fn the_copy_blocks_and_the_original_is_a_future() {
    let waited: Result<u32, _> = blocking::Chip(Waits::default()).waits(2);
    assert_eq!(waited, Ok(2));
    let mut chip = asynchronous::Chip(Waits::default());
    let future = chip.waits(2);
    assert_eq!(embassy_futures::block_on(future), Ok(2));
}
