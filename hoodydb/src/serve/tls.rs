//! TLS of the server and of the client, by rustls with ring.
//!
//! Called by [`super::run`] and [`super::client`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::ServeError;

/// Where distributions keep the certificates of authorities.
const AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// A certificate chain and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// The server's certificate first.
    pub certificates: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What connections of the server are wrapped with.
pub(super) fn acceptor(files: &Files) -> Result<TlsAcceptor, ServeError> {
    let certificates = read(&files.certificates)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| ServeError::file(&files.key, error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key));
    let mut config = config.map_err(|error| ServeError::file(&files.certificates, error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What connections of the client are wrapped with; it trusts the host's authorities, or those of one file.
pub(super) fn connector(authorities: Option<&Path>) -> io::Result<TlsConnector> {
    let found = || AUTHORITIES.iter().map(Path::new).find(|path| path.exists());
    let path =
        authorities.or_else(found).ok_or_else(|| io::Error::other("this host has no certificates of authorities"))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read(path).map_err(io::Error::other)?);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, ServeError> {
    let failed = |error: rustls::pki_types::pem::Error| ServeError::file(path, error);
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(failed)?.collect();
    let certificates = certificates.map_err(failed)?;
    if certificates.is_empty() {
        Err(ServeError::file(path, "there is no certificate in it"))
    } else {
        Ok(certificates)
    }
}
