//! From what a command was told to what librdkafka wants.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use lamppost_forward::{ClientTls, Keyring, Login, OwnCertificate, Security, check_property};

use crate::cli;
use crate::config;

/// The brokers, and librdkafka's properties. Secrets are among them: not to be printed.
pub(super) fn resolve(told: &cli::Connection) -> anyhow::Result<(String, BTreeMap<String, String>)> {
    let (bootstrap, security, mut properties) = match &told.config {
        Some(path) => {
            let Some(kafka) = config::load(path)?.kafka else { bail!("{}: no [kafka]", path.display()) };
            (told.bootstrap.clone().unwrap_or_else(|| kafka.bootstrap.join(",")), kafka.security, kafka.properties)
        }
        None => (told.bootstrap.clone().context("no --bootstrap")?, security(told)?, BTreeMap::new()),
    };
    for (key, value) in &told.property {
        check_property(key, value).with_context(|| format!("--property {key}"))?;
        properties.insert(key.clone(), value.clone());
    }
    let keyring = Keyring::new(security);
    keyring.refresh()?;
    properties.extend(keyring.properties().into_iter().map(|(key, value)| (key.to_owned(), value)));
    Ok((bootstrap, properties))
}

fn security(told: &cli::Connection) -> anyhow::Result<Security> {
    let own = told.cert.clone().zip(told.key.clone()).map(|(certificate, key)| OwnCertificate {
        certificate,
        key,
        key_password: told.key_password_file.clone(),
    });
    let tls = told.tls || told.ca.is_some() || own.is_some();
    let tls = tls.then(|| ClientTls { ca: told.ca.clone(), own, verify_host_name: !told.any_host_name });
    ensure!(tls.is_some() || !told.any_host_name, "--any-host-name without TLS: add --tls or --ca");
    let sasl = told.user.clone().zip(told.password_file.clone()).map(|(user, password)| Login {
        mechanism: told.mechanism,
        user,
        password,
    });
    ensure!(
        tls.is_some() || sasl.is_none() || told.insecure,
        "--user without TLS: it can be read on the way; add --ca or --tls, or --insecure if that is what you want"
    );
    Ok(Security { tls, sasl })
}
