/// The steps that a chain of tags cannot take: a tag after a tag, or a tag at the start.
///
/// ```
/// # use polytask_tensor::ops::Forbidden;
/// // O, B, I: an inside can only follow a beginning or an inside.
/// let forbidden = Forbidden::new(3).forbid(0, 2).forbid_start(2);
/// assert!(forbidden.transition(0, 2) && forbidden.start(2));
/// assert!(!forbidden.transition(1, 2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    tags: usize,
    /// `[tags, tags]`, from and to.
    transitions: Vec<bool>,
    start: Vec<bool>,
}

impl Forbidden {
    /// Nothing is forbidden among so many tags.
    pub fn new(tags: usize) -> Self {
        Self { tags, transitions: vec![false; tags * tags], start: vec![false; tags] }
    }

    /// The same, and `to` never comes right after `from`. A tag that does not exist never comes anyhow.
    #[must_use]
    pub fn forbid(mut self, from: usize, to: usize) -> Self {
        if from < self.tags && to < self.tags {
            self.transitions[from * self.tags + to] = true;
        }
        self
    }

    /// The same, and `tag` is never a text's first. A tag that does not exist never comes anyhow.
    #[must_use]
    pub fn forbid_start(mut self, tag: usize) -> Self {
        if tag < self.tags {
            self.start[tag] = true;
        }
        self
    }

    /// The number of tags.
    pub fn tags(&self) -> usize {
        self.tags
    }

    /// Whether `to` cannot come right after `from`; so for any tag that does not exist.
    pub fn transition(&self, from: usize, to: usize) -> bool {
        from >= self.tags || to >= self.tags || self.transitions[from * self.tags + to]
    }

    /// Whether `tag` cannot be the first; so for any tag that does not exist.
    pub fn start(&self, tag: usize) -> bool {
        self.start.get(tag).copied().unwrap_or(true)
    }

    /// Whether each step is, `[tags, tags]`, from and to.
    pub(super) fn transitions(&self) -> &[bool] {
        &self.transitions
    }

    /// Whether each tag is at the start, `[tags]`.
    pub(super) fn starts(&self) -> &[bool] {
        &self.start
    }
}
