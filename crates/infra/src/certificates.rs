//! Whom an encrypted connection trusts: the system's own list of certificates, or a file of one's own.
//!
//! Must not know: who is talked to.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _},
    path::Path,
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// Where systems keep the certificates that they trust.
const CERTIFICATES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

fn unusable(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, what)
}

/// How a client encrypts, upon `ring`. [`ErrorKind::InvalidInput`] where there is nobody to trust, and what reading the file gave.
pub(crate) fn client(trusted: Option<&Path>) -> io::Result<ClientConfig> {
    let path = trusted.or_else(|| CERTIFICATES.iter().map(Path::new).find(|path| path.is_file()));
    let none = "the system has no certificates where others have them; name a file";
    let path = path.ok_or_else(|| unusable(none))?;
    let mut pem = Vec::new();
    let file = File::open(path)?;
    file.take(16 << 20).read_to_end(&mut pem)?;
    let mut roots = RootCertStore::empty();
    // A system's list may have some that nobody can read any more.
    let (added, _) = roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    if added == 0 {
        return Err(unusable("there is no certificate in the file of certificates"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|_| unusable("there is no TLS here"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
