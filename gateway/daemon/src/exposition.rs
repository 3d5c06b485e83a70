//! Metrics as Prometheus reads them. The rooms count in plain atomics and know nothing of Prometheus; at each scrape their
//! figures are put into families here.

use std::collections::BTreeMap;

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

/// The metric families of one scrape.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    families: BTreeMap<&'static str, MetricFamily>,
}

impl Exposition {
    /// A figure that only rises.
    pub(crate) fn counter(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)], value: u64) {
        let mut counter = Counter::default();
        counter.set_value(as_f64(value));
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_counter(counter);
        self.add(name, help, MetricType::COUNTER, metric);
    }

    /// A figure that rises and falls.
    pub(crate) fn gauge(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)], value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_gauge(gauge);
        self.add(name, help, MetricType::GAUGE, metric);
    }

    /// The same, for whole numbers.
    pub(crate) fn level(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)], value: u64) {
        self.gauge(name, help, labels, as_f64(value));
    }

    fn add(&mut self, name: &'static str, help: &str, kind: MetricType, metric: Metric) {
        let family = self.families.entry(name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family
        });
        family.mut_metric().push(metric);
    }

    /// The text format, version 0.0.4.
    pub(crate) fn encode(self) -> Result<String, prometheus::Error> {
        let families: Vec<MetricFamily> = self.families.into_values().collect();
        let mut out = Vec::new();
        TextEncoder::new().encode(&families, &mut out)?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }
}

fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows only floating point")]
fn as_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_exposed_once_with_all_their_labels() {
        let mut exposition = Exposition::default();
        exposition.counter("lamppost_x_total", "How many x.", &[("kind", "a")], 1);
        exposition.counter("lamppost_x_total", "How many x.", &[("kind", "b")], 2);
        exposition.level("lamppost_y_bytes", "How much y.", &[], 7);
        let text = exposition.encode().unwrap();
        assert_eq!(text.matches("# HELP lamppost_x_total").count(), 1, "{text}");
        assert!(text.contains("lamppost_x_total{kind=\"b\"} 2\n") && text.contains("lamppost_y_bytes 7\n"), "{text}");
    }
}
