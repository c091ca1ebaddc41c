//! Any text as a desired state: what is accepted is printed as a text that says the same.

use weir_tests::fuzz::Target;

/// The target.
pub const TARGET: Target = Target { name: "config", run, longest: 4096, one_in: 20 };

fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match vswitchd::config::Config::parse(&text) {
        Ok(config) => {
            // Whether the names in it fit together is another question; asking it must be safe too.
            let _ = config.check();
            let printed = config.to_toml().unwrap();
            assert_eq!(vswitchd::config::Config::parse(&printed), Ok(config), "{printed}");
        }
        Err(e) => assert!(!e.to_string().is_empty()),
    }
}
