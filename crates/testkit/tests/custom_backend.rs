//! The example's store keeps every law, and stays as short as the guide says.

#[path = "../examples/custom_backend/fixture.rs"]
mod fixture;
#[path = "../examples/custom_backend/store.rs"]
mod store;

use fixture::RedbFixture;

mod laws {
    use super::RedbFixture;

    sessions_testkit::store_laws!(
        RedbFixture::new(),
        skips: ["the store gives the strongest level there is"]
    );
}

#[test]
fn a_whole_store_is_below_350_lines() {
    let lines = include_str!("../examples/custom_backend/store.rs").lines().count();
    assert!(lines < 350, "{lines}");
}
