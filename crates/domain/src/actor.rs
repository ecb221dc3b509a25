//! Who does something: the identity that stands on every record.
//!
//! Must not know: how an identity was verified, or what it may do.

use serde::{Deserialize, Serialize};

/// A person or program within a tenant. Both names are empty by default, which is what a single user needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// The tenant; another tenant's sessions read as not found.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tenant: String,
    /// The person or program within the tenant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
}

impl Actor {
    /// An actor of the default tenant.
    pub fn named(id: impl Into<String>) -> Self {
        Self { tenant: String::new(), id: id.into() }
    }

    /// True when nobody in particular acts.
    pub fn is_anonymous(&self) -> bool {
        self.tenant.is_empty() && self.id.is_empty()
    }
}
