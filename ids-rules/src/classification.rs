//! The customary classtypes with what they mean and how urgent they are.

use std::collections::BTreeMap;

/// A classtype.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classification {
    /// Name as rules write it.
    pub name: &'static str,
    /// What it means; the `category` of events.
    pub meaning: &'static str,
    /// Priority, 1 is the highest.
    pub priority: u8,
}

/// Priority of a rule that names neither a priority nor a known classtype.
pub const DEFAULT_PRIORITY: u8 = 3;

/// Finds a classtype by name.
pub fn find(name: &str) -> Option<&'static Classification> {
    ALL.iter().find(|c| c.name.eq_ignore_ascii_case(name))
}

/// Classtypes of a `classification.config`, by name in small letters: what they mean and how urgent they are.
pub type Classes = BTreeMap<String, (String, u8)>;

/// Classtypes that a file may name; what is beyond is refused.
const CLASSES: usize = 4096;

/// Reads a `classification.config`: lines of `config classification: name,meaning,priority`. Lines that are not
/// understood are returned by their numbers.
pub fn parse(text: &str) -> (Classes, Vec<usize>) {
    let mut classes = Classes::new();
    let mut wrong = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match class(line).filter(|_| classes.len() < CLASSES) {
            Some((name, class)) => {
                classes.insert(name, class);
            }
            None => wrong.push(number),
        }
    }
    (classes, wrong)
}

fn class(line: &str) -> Option<(String, (String, u8))> {
    let rest = line.strip_prefix("config")?.trim_start().strip_prefix("classification")?.trim_start();
    let mut fields = rest.strip_prefix(':')?.splitn(3, ',').map(str::trim);
    let (name, meaning, priority) = (fields.next()?, fields.next()?, fields.next()?);
    let priority = priority.parse().ok().filter(|&priority| priority > 0 && !name.is_empty())?;
    Some((name.to_ascii_lowercase(), (meaning.to_owned(), priority)))
}

macro_rules! classifications {
    ($( $name:literal $meaning:literal $priority:literal )+) => {
        /// All of them.
        pub const ALL: &[Classification] =
            &[ $( Classification { name: $name, meaning: $meaning, priority: $priority }, )+ ];
    };
}

classifications! {
    "not-suspicious" "Not Suspicious Traffic" 3
    "unknown" "Unknown Traffic" 3
    "bad-unknown" "Potentially Bad Traffic" 2
    "attempted-recon" "Attempted Information Leak" 2
    "successful-recon-limited" "Information Leak" 2
    "successful-recon-largescale" "Large Scale Information Leak" 2
    "attempted-dos" "Attempted Denial of Service" 2
    "successful-dos" "Denial of Service" 2
    "attempted-user" "Attempted User Privilege Gain" 1
    "unsuccessful-user" "Unsuccessful User Privilege Gain" 1
    "successful-user" "Successful User Privilege Gain" 1
    "attempted-admin" "Attempted Administrator Privilege Gain" 1
    "successful-admin" "Successful Administrator Privilege Gain" 1
    "rpc-portmap-decode" "Decode of an RPC Query" 2
    "shellcode-detect" "Executable code was detected" 1
    "string-detect" "A suspicious string was detected" 3
    "suspicious-filename-detect" "A suspicious filename was detected" 2
    "suspicious-login" "An attempted login using a suspicious username was detected" 2
    "system-call-detect" "A system call was detected" 2
    "tcp-connection" "A TCP connection was detected" 4
    "trojan-activity" "A Network Trojan was detected" 1
    "unusual-client-port-connection" "A client was using an unusual port" 2
    "network-scan" "Detection of a Network Scan" 3
    "denial-of-service" "Detection of a Denial of Service Attack" 2
    "non-standard-protocol" "Detection of a non-standard protocol or event" 2
    "protocol-command-decode" "Generic Protocol Command Decode" 3
    "web-application-activity" "access to a potentially vulnerable web application" 2
    "web-application-attack" "Web Application Attack" 1
    "misc-activity" "Misc activity" 3
    "misc-attack" "Misc Attack" 2
    "icmp-event" "Generic ICMP event" 3
    "inappropriate-content" "Inappropriate Content was Detected" 1
    "policy-violation" "Potential Corporate Privacy Violation" 1
    "default-login-attempt" "Attempt to login by a default username and password" 2
    "targeted-activity" "Targeted Malicious Activity was Detected" 1
    "exploit-kit" "Exploit Kit Activity Detected" 1
    "external-ip-check" "Device Retrieving External IP Address Detected" 2
    "domain-c2" "Domain Observed Used for C2 Detected" 1
    "pup-activity" "Possibly Unwanted Program Detected" 2
    "credential-theft" "Successful Credential Theft Detected" 1
    "social-engineering" "Possible Social Engineering Attempted" 2
    "coin-mining" "Crypto Currency Mining Activity Detected" 2
    "command-and-control" "Malware Command and Control Activity Detected" 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_priorities_valid() {
        for (i, c) in ALL.iter().enumerate() {
            assert_eq!(find(c.name), Some(c));
            assert!((1..=4).contains(&c.priority));
            assert!(ALL[i + 1..].iter().all(|d| d.name != c.name));
        }
    }

    #[test]
    fn a_file_of_classtypes_is_read_and_its_wrong_lines_are_named() {
        let text = "# ours\nconfig classification: Our-Own,Something of ours,4\nnonsense\n\
                    config classification: x,y\nconfig classification:trojan-activity,Renamed, 9\n";
        let (classes, wrong) = parse(text);
        assert_eq!(classes["our-own"], ("Something of ours".to_owned(), 4));
        assert_eq!(classes["trojan-activity"], ("Renamed".to_owned(), 9));
        assert_eq!((classes.len(), wrong), (2, vec![3, 4]));
    }
}
