//! The gRPC server: services, health and reflection on every listener.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::service::Routes;
use tonic::transport::server::Router;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic_health::ServingStatus;

use crate::commit::Controller;
use crate::control::{SERVICES, Service};
use crate::eve::Feed;

/// Requests of one connection that are worked on at once.
const CONCURRENCY: usize = 64;

/// How often a silent connection is asked whether it still lives; streams to a host that has gone end so.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// What mutual TLS needs, in PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Our certificate and those that lead to its authority.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
    /// The authority that clients' certificates must come from.
    pub client_ca: Vec<u8>,
}

/// A listener that is bound already.
pub enum Bound {
    /// A unix socket.
    Unix(std::os::unix::net::UnixListener),
    /// TCP with mutual TLS, or plain on loopback.
    Tcp(std::net::TcpListener, Option<Tls>),
}

/// Serves `bound` until `stop` changes, then finishes what is under way.
///
/// # Errors
/// Where the listener or its certificates cannot be used.
pub async fn serve(bound: Bound, routes: Routes, stop: watch::Receiver<bool>) -> io::Result<()> {
    let stopped = wait(stop);
    let result = match bound {
        Bound::Unix(listener) => {
            let incoming = UnixListenerStream::new(UnixListener::from_std(listener)?);
            router(None, routes)?.serve_with_incoming_shutdown(incoming, stopped).await
        }
        Bound::Tcp(listener, tls) => {
            let incoming = TcpListenerStream::new(TcpListener::from_std(listener)?);
            router(tls, routes)?.serve_with_incoming_shutdown(incoming, stopped).await
        }
    };
    result.map_err(io::Error::other)
}

fn router(tls: Option<Tls>, routes: Routes) -> io::Result<Router> {
    let mut server =
        Server::builder().concurrency_limit_per_connection(CONCURRENCY).http2_keepalive_interval(Some(KEEPALIVE));
    if let Some(Tls { certificate, key, client_ca }) = tls {
        let config = ServerTlsConfig::new()
            .identity(Identity::from_pem(certificate, key))
            .client_ca_root(Certificate::from_pem(client_ca));
        server = server.tls_config(config).map_err(io::Error::other)?;
    }
    Ok(server.add_routes(routes))
}

async fn wait(mut stop: watch::Receiver<bool>) {
    // The sender going away is a stop too.
    drop(stop.wait_for(|stop| *stop).await);
}

/// All services, with health and reflection. Streams end when `stop` says so.
///
/// # Errors
/// Where the descriptors of the messages are broken.
pub async fn routes(controller: Arc<Controller>, feed: Feed, stop: watch::Receiver<bool>) -> io::Result<Routes> {
    let (reporter, health) = tonic_health::server::health_reporter();
    for name in SERVICES {
        reporter.set_service_status(name, ServingStatus::Serving).await;
    }
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(weir_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(io::Error::other)?;
    Ok(Service::new(controller, feed, stop).routes().add_service(health).add_service(reflection))
}
