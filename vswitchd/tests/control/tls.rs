//! TCP: both sides show certificates, or nobody talks.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use vswitchd::listen::bind_tcp;
use vswitchd::server::{Bound, Tls};
use weir_proto::v1;

use crate::rig::Rig;

struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("signs itself"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue(&self, name: &str) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.0).expect("is signed");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

struct Served {
    _rig: Rig,
    address: std::net::SocketAddr,
    authority: Authority,
}

async fn served() -> Served {
    let (rig, authority) = (Rig::start().await, Authority::new());
    let ours = authority.issue("localhost");
    let listener = bind_tcp("127.0.0.1:0".parse().expect("an address"), false).expect("binds");
    let address = listener.local_addr().expect("has one");
    let tls = Tls {
        certificate: ours.certificate.into_bytes(),
        key: ours.key.into_bytes(),
        client_ca: authority.pem().into_bytes(),
    };
    rig.serve(Bound::Tcp(listener, Some(tls))).await;
    Served { _rig: rig, address, authority }
}

impl Served {
    async fn ask(&self, scheme: &str, tls: Option<ClientTlsConfig>) -> Result<(), String> {
        let uri = format!("{scheme}://localhost:{}", self.address.port());
        let mut endpoint = Endpoint::from_shared(uri).expect("is an address");
        if let Some(tls) = tls {
            endpoint = endpoint.tls_config(tls).expect("is fine");
        }
        let channel: Channel = endpoint.connect().await.map_err(|e| format!("{e:?}"))?;
        let mut config = v1::config_client::ConfigClient::new(channel);
        config.show(v1::ShowConfigRequest {}).await.map(drop).map_err(|e| format!("{e:?}"))
    }

    fn trusting(&self) -> ClientTlsConfig {
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.authority.pem()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_certificate_of_our_authority_is_served() {
    let served = served().await;
    let client = served.authority.issue("operator");
    let identity = Identity::from_pem(client.certificate, client.key);
    served.ask("https", Some(served.trusting().identity(identity))).await.expect("is served");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_without_a_certificate_or_with_a_stranger_s_are_refused() {
    let served = served().await;
    served.ask("https", Some(served.trusting())).await.expect_err("shows nothing");
    let stranger = Authority::new().issue("operator");
    let identity = Identity::from_pem(stranger.certificate, stranger.key);
    served.ask("https", Some(served.trusting().identity(identity))).await.expect_err("shows another authority's");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_is_not_served_where_tls_is() {
    served().await.ask("http", None).await.expect_err("speaks no TLS");
}
