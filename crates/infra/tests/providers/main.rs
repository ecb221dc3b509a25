//! Providers over HTTP against stand-ins that do everything well and badly.
//!
//! Must not know: how answers are read.

#[cfg(test)]
#[cfg(feature = "providers")]
mod asking;
#[cfg(test)]
#[cfg(feature = "providers")]
mod scenarios;
#[cfg(test)]
#[cfg(feature = "providers")]
mod tls;
#[cfg(test)]
#[cfg(feature = "providers")]
mod words;
