//! Events become progress bars, plain lines or JSON.
