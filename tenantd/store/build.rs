//! A new migration is a change of this package, though it lies in another folder.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
