//! The way to the daemon: a unix socket, or TCP with mutual TLS.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri};
use tower::service_fn;
use weir_proto::{MESSAGE_MAX, v1};

use crate::Target;
use crate::failure::Failure;

/// Where vswitchd listens unless it is told otherwise.
pub const USUAL_SOCKET: &str = "/run/weir/vswitchd.sock";
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The daemon, connected when first asked.
pub struct Connection {
    target: Target,
}

macro_rules! clients {
    ($( $(#[doc = $doc:literal])+ $name:ident: $module:ident :: $client:ident; )+) => {
        impl Connection {
            $(
                $(#[doc = $doc])+
                pub async fn $name(&self) -> Result<v1::$module::$client<Channel>, Failure> {
                    let client = v1::$module::$client::new(self.channel().await?);
                    Ok(client.max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX))
                }
            )+
        }
    };
}

clients! {
    /// Switches.
    switches: switches_client::SwitchesClient;
    /// Ports.
    ports: ports_client::PortsClient;
    /// What switches do beyond forwarding.
    switching: switching_client::SwitchingClient;
    /// Mirrors.
    mirrors: mirrors_client::MirrorsClient;
    /// Routers.
    routers: routers_client::RoutersClient;
    /// What routers serve.
    services: services_client::ServicesClient;
    /// Appliances.
    appliances: appliances_client::AppliancesClient;
    /// First-hop security.
    guard: guard_client::GuardClient;
    /// The policy.
    policies: policies_client::PoliciesClient;
    /// A candidate policy.
    shadow: shadow_client::ShadowClient;
    /// What guests may open.
    quotas: quotas_client::QuotasClient;
    /// What rules speak in.
    segments: segments_client::SegmentsClient;
    /// Rule sets.
    rule_sets: rule_sets_client::RuleSetsClient;
    /// Flows.
    flows: flows_client::FlowsClient;
    /// Counters.
    stats: stats_client::StatsClient;
    /// What inspection costs.
    inspection: inspection_client::InspectionClient;
    /// Events.
    events: events_client::EventsClient;
    /// The state as a whole.
    config: config_client::ConfigClient;
    /// Why packets go where they go.
    trace: trace_client::TraceClient;
    /// The content filter.
    content: content_filter_client::ContentFilterClient;
    /// The threads that forward.
    workers: workers_client::WorkersClient;
    /// The virus check.
    virus: virus_check_client::VirusCheckClient;
}

impl Connection {
    /// A connection to be made when first asked.
    pub fn new(target: Target) -> Connection {
        Connection { target }
    }

    async fn channel(&self) -> Result<Channel, Failure> {
        let address = &self.target.socket;
        if address.starts_with("https://") || address.starts_with("http://") {
            return self.tcp(address).await;
        }
        unix(Path::new(address.strip_prefix("unix:").unwrap_or(address))).await
    }

    async fn tcp(&self, address: &str) -> Result<Channel, Failure> {
        let mut endpoint = Endpoint::from_shared(address.to_owned())
            .map_err(|e| Failure::usage(format!("\"{address}\" is no address: {e}; write https://HOST:PORT")))?
            .connect_timeout(PATIENCE);
        if address.starts_with("https://") {
            endpoint = endpoint.tls_config(self.tls()?).map_err(|e| Failure::usage(format!("certificates: {e}")))?;
        }
        endpoint.connect().await.map_err(|e| {
            Failure::unreachable(format!(
                "{address}: no daemon answers there ({}); start one with: vswitchd run --listen tcp:ADDRESS:PORT \
                 --tls-cert FILE --tls-key FILE --tls-client-ca FILE",
                innermost(&e)
            ))
        })
    }

    fn tls(&self) -> Result<ClientTlsConfig, Failure> {
        let Target { tls_cert: Some(certificate), tls_key: Some(key), tls_ca: Some(authority), .. } = &self.target
        else {
            return Err(Failure::usage("https needs --tls-cert, --tls-key and --tls-ca: the daemon asks who we are"));
        };
        Ok(ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read(authority)?))
            .identity(Identity::from_pem(read(certificate)?, read(key)?)))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

async fn unix(path: &Path) -> Result<Channel, Failure> {
    let path: PathBuf = path.to_owned();
    // A first connection of our own, for an error that says what is wrong.
    if let Err(error) = UnixStream::connect(&path).await {
        return Err(unix_failure(&path, &error));
    }
    // The name of the host is not used on a unix socket, but the protocol wants one.
    let endpoint = Endpoint::from_static("http://vswitchd").connect_timeout(PATIENCE);
    let connector = service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    endpoint.connect_with_connector(connector).await.map_err(|e| Failure::unreachable(innermost(&e)))
}

fn unix_failure(path: &Path, error: &std::io::Error) -> Failure {
    let at = path.display();
    let start = if path == Path::new(USUAL_SOCKET) {
        "vswitchd run".to_owned()
    } else {
        format!("vswitchd run --listen unix:{at}")
    };
    Failure::unreachable(match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            format!(
                "{at}: permission denied; run as root, or start vswitchd with --socket-group and --socket-mode 0660"
            )
        }
        std::io::ErrorKind::NotFound => format!("{at}: there is no such socket; start the daemon with: {start}"),
        std::io::ErrorKind::ConnectionRefused => {
            format!("{at}: no daemon answers there any more; start it with: {start}")
        }
        _ => format!("{at}: {error}; start the daemon with: {start}"),
    })
}

/// The cause at the end of a chain of errors; the outer ones say "transport error" only.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
