//! `lamppost bench link` as one runs it, at a size that takes seconds. What it says is checked; how fast it was is not.

use std::process::Command;

use serde_json::Value;

#[test]
fn every_reading_is_in_the_journal_once_and_costs_fewer_bytes_than_a_line_of_json() {
    let args = ["bench", "link", "--readings", "3000", "--seconds", "1", "--rounds", "1", "--json"];
    let done = Command::new(env!("CARGO_BIN_EXE_lamppost")).args(args).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    let figures: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let number =
        |name: &str| figures.pointer(name).and_then(Value::as_f64).unwrap_or_else(|| panic!("{name}: {figures}"));
    for positive in
        ["/readings_per_s", "/lines_readings_per_s", "/at_115200_baud/readings_per_s", "/bytes_back_per_reading"]
    {
        assert!(number(positive) > 0.0, "{positive} in {figures}");
    }
    // A few ticks of the kernel's clock, or none: they are there.
    for there in ["/cpu_us_per_reading", "/lines_cpu_us_per_reading", "/at_115200_baud/cpu_us_per_reading"] {
        assert!(number(there) >= 0.0, "{there} in {figures}");
    }
    // At both paces.
    assert_eq!(["/acknowledged", "/lines_written"].map(number), [3000.0 + 460.0; 2]);
    assert_eq!(["/lost", "/doubled", "/out_of_order"].map(number), [0.0; 3], "{figures}");
    // By the wire's own README 18 to 25, and a bit for heartbeats and the time.
    assert!((15.0..30.0).contains(&number("/bytes_per_reading")), "{figures}");
    assert!(number("/bytes_ratio") < 0.25, "{figures}");
    // 115,200 baud carry 11,520 bytes a second: enough for 414 readings, whatever the machine takes for them.
    assert!(11_520.0 / number("/bytes_per_reading") >= 414.0, "{figures}");
}
