//! `vswitchctl virus`.

use clap::Subcommand;
use weir_proto::v1;

use crate::Format;
use crate::connect::Connection;
use crate::failure::Failure;
use crate::table::{print, print_applied, print_json};

/// What can be done with the virus check.
#[derive(Subcommand)]
pub enum Command {
    /// Check files in flows, by the built-in signature and those of files.
    Enable {
        /// A signature file on the daemon's host, absolute: .hdb, .hsb, .ndb, .ldb, or one digest a line; may be given
        /// several times. Without: those that are set.
        #[arg(long = "signatures", value_name = "PATH")]
        files: Vec<String>,
        /// A clamd to ask beside: the path of its socket, or address:port; none for none. Without: as it is.
        #[arg(long, value_name = "SOCKET")]
        clamd: Option<String>,
    },
    /// Check no files.
    Disable,
    /// Let the daemon read the signature files again and take what has changed in them.
    Reload,
    /// What is searched for, what was refused of the signature files, and what was found.
    Show,
}

/// Runs a command.
pub async fn run(command: Command, daemon: &Connection, format: Format) -> Result<(), Failure> {
    let mut client = daemon.virus().await?;
    let applied = match command {
        Command::Enable { files, clamd } => {
            let clamd = clamd.map(|socket| if socket == "none" { String::new() } else { socket });
            client.set(v1::SetVirusRequest { enabled: true, files, clamd }).await?
        }
        Command::Disable => client.set(v1::SetVirusRequest { enabled: false, files: Vec::new(), clamd: None }).await?,
        Command::Reload => client.reload(v1::ReloadVirusRequest {}).await?,
        Command::Show => {
            let shown = client.show(v1::ShowVirusRequest {}).await?.into_inner();
            return match format {
                Format::Json => print_json(&shown),
                Format::Table => print(&text(&shown)),
            };
        }
    };
    print_applied(applied.get_ref(), format == Format::Json, false)
}

fn text(shown: &v1::ShowVirusResponse) -> String {
    if !shown.enabled {
        return "files are not checked; turn it on with: vswitchctl virus enable\n".into();
    }
    let mut text = format!("{} digests and {} body signatures in force\n", shown.digests, shown.bodies);
    for file in &shown.files {
        text.push_str(&format!("from {file}\n"));
    }
    for refused in &shown.refused {
        text.push_str(&format!("refused {}: {}\n", refused.count, refused.why));
    }
    let v1::ShowVirusResponse { scanned, bytes, infected, limited, .. } = shown;
    if let Some(clamd) = &shown.clamd {
        text.push_str(&asked(clamd));
    }
    text + &format!("{scanned} files of {bytes} bytes checked: {infected} infected, {limited} met a limit\n")
}

fn asked(clamd: &v1::Clamd) -> String {
    let stands = match clamd.answers {
        Some(true) => "answers",
        Some(false) => "cannot be asked",
        None => "was not asked yet",
    };
    let v1::Clamd { address, text, asked, clean, infected, failed, cut, waiting_bytes, .. } = clamd;
    format!(
        "clamd at {address} {stands}: {text}\nclamd was asked about {asked} files: {clean} clean, {infected} infected, \
         {failed} not judged, {cut} by their beginning; {waiting_bytes} bytes wait\n"
    )
}
