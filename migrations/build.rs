//! Rebuilds when a migration changes: `embed_migrations!` reads the folders without telling cargo.
fn main() {
    println!("cargo:rerun-if-changed=registry");
    println!("cargo:rerun-if-changed=reads");
}
