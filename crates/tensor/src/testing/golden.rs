/// Asserts that values agree with golden ones: |found − expected| ≤ tolerance · max(1, |expected|).
#[track_caller]
pub fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "numbers of values");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let error = (f - e).abs() / e.abs().max(1.0);
        assert!(error <= tolerance, "value {i}: found {f}, expected {e}, error {error:e} > {tolerance:e}");
    }
}
