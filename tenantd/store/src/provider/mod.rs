//! What the provider asks across all tenants: which there are, how large, on which nodes; and who
//! signs in. Never what is in them.

pub mod nodes;
