//! The domain, seen from outside: properties of the decision and of status, golden tables, the form of what is signed.

#[cfg(test)]
mod access_properties;
#[cfg(test)]
mod agreement_content;
#[cfg(test)]
mod commit_properties;
#[cfg(test)]
mod common;
#[cfg(test)]
mod decide_edges;
#[cfg(test)]
mod decide_properties;
#[cfg(test)]
mod difference;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod model;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod screen;
#[cfg(test)]
mod status_properties;
#[cfg(test)]
mod succession_properties;
