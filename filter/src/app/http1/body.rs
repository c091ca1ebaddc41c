//! A message's body: its codings undone, kept for rules as a file, or as the parts of a form.

use super::multipart::{Multipart, Part};
use crate::app::decompress::{Coding, Decompressor, Fault, Status};
use crate::app::file::{self, Content, File, Files, Hashed, Limits};
use crate::app::{Anomaly, decompress};

/// The name of what forms carry besides files.
const FIELD: &[u8] = b"field of a form";

/// What is told of a body whose coding is not undone.
pub const CODED: &str = "a content coding that is not undone";

/// Whether a message names codings that are not undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    None,
    Some,
}

/// How a body is kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// What rules look at.
    pub limits: Limits,
    /// Whether hashes are computed.
    pub hashed: Hashed,
}

/// What is known of a body before its first byte.
#[derive(Debug)]
pub struct Plan<'n> {
    /// How it is kept.
    pub keep: Keep,
    /// Its name as a file.
    pub name: Option<&'n [u8]>,
    /// The boundary of a form's parts.
    pub boundary: Option<&'n [u8]>,
    /// What part of a whole it is.
    pub range: Option<(u64, u64, Option<u64>)>,
}

/// A body.
#[derive(Debug, Default)]
pub struct Body {
    /// Bytes of the message, before codings are undone.
    pub length: u64,
    /// The body itself or the files of a form.
    pub files: Files,
    /// The body as a whole where it is a form; otherwise it is the only file.
    whole: Option<Content>,
    /// What rules see while nothing came: it may still grow.
    nothing: Content,
    form: Option<Box<Multipart>>,
    decompressor: Option<Box<Decompressor>>,
    /// Why what is undone is not all.
    opaque: Option<&'static str>,
    begun: bool,
    keep: Option<Keep>,
}

impl Body {
    /// Names the codings to be undone, in the order in which they were applied.
    pub fn set_codings(&mut self, codings: &[Coding], unknown: Unknown) {
        self.opaque = (unknown == Unknown::Some).then_some(CODED);
        self.decompressor =
            (!codings.is_empty()).then(|| Box::new(Decompressor::new(codings, decompress::Limits::default())));
    }

    /// Nothing is undone.
    pub fn set_plain(&mut self) {
        self.opaque = None;
        self.decompressor = None;
    }

    /// Whether [`Body::begin`] was called.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Decides how the body is kept.
    pub fn begin(&mut self, plan: &Plan<'_>, note: &mut dyn FnMut(Anomaly)) {
        self.begun = true;
        self.keep = Some(plan.keep);
        if let Some(boundary) = plan.boundary {
            self.whole = Some(Content::new(plan.keep.limits));
            self.form = Some(Box::new(Multipart::new(boundary)));
            if let Some(why) = self.opaque {
                self.mark_opaque(why);
            }
            return;
        }
        if plan.name.is_some_and(|name| name.len() > file::NAME) {
            note(Anomaly("http.file_name_too_long"));
        }
        if let Some(file) = self.files.open(plan.name.unwrap_or_default(), plan.keep.limits, plan.keep.hashed) {
            file.announced = plan.name.is_some();
            file.range = plan.range;
            file.opaque = self.opaque;
        }
    }

    /// Only the end of the connection ends the body.
    pub fn set_open_ended(&mut self) {
        if let Some(file) = self.files.current() {
            file.open_ended = true;
        }
    }

    /// Takes bytes of the message's body.
    pub fn take(&mut self, bytes: &[u8], note: &mut dyn FnMut(Anomaly)) {
        self.length = self.length.saturating_add(bytes.len() as u64);
        let Some(mut decompressor) = self.decompressor.take() else {
            return self.store(bytes, note);
        };
        let status = decompressor.write(bytes, &mut |out| self.store(out, note));
        if status == Status::Bomb {
            note(Anomaly("http.compression_bomb"));
            self.mark_opaque("a body that unfolds to too much");
        }
        match decompressor.fault() {
            Fault::None => {}
            Fault::Broken => note(Anomaly("http.gzip_decompression_failed")),
            Fault::Memory => note(Anomaly("http.lzma_memlimit_reached")),
        }
        self.decompressor = Some(decompressor);
    }

    /// The virus check is told that it is not handed all.
    fn mark_opaque(&mut self, why: &'static str) {
        let hashed = self.keep.map_or(Hashed::NO, |keep| keep.hashed);
        let file = match self.files.current() {
            Some(file) => Some(file),
            None => self.files.silent(FIELD, hashed),
        };
        if let Some(file) = file {
            file.opaque = Some(why);
        }
    }

    fn store(&mut self, bytes: &[u8], note: &mut dyn FnMut(Anomaly)) {
        if bytes.is_empty() {
            return;
        }
        let (Some(whole), Some(form), Some(keep)) = (&mut self.whole, &mut self.form, self.keep) else {
            if let Some(file) = self.files.current() {
                file.append(bytes);
            }
            return;
        };
        whole.append(bytes);
        let files = &mut self.files;
        form.feed(bytes, &mut |part| match part {
            Part::File(name) => {
                files.open(name, keep.limits, keep.hashed);
            }
            Part::Bytes(bytes) => {
                if let Some(file) = files.current() {
                    file.append(bytes);
                }
            }
            Part::End => {
                if let Some(file) = files.current() {
                    file.close();
                }
            }
            // Scripts take fields for files as well.
            Part::Field(bytes) => {
                if let Some(file) = files.silent(FIELD, keep.hashed) {
                    file.append(bytes);
                }
            }
            Part::FieldEnd => files.close_silent(FIELD),
            Part::Odd(name) => note(Anomaly(name)),
        });
    }

    /// Bytes of the message's body are missing.
    pub fn gap(&mut self, bytes: u64, note: &mut dyn FnMut(Anomaly)) {
        self.length = self.length.saturating_add(bytes);
        self.flush(note);
        if let Some(whole) = &mut self.whole {
            whole.gap(bytes);
            self.form = None;
        }
        if let Some(file) = self.files.current() {
            file.gap(bytes);
        }
    }

    /// What the codings still hold comes out; nothing is undone after it.
    fn flush(&mut self, note: &mut dyn FnMut(Anomaly)) {
        if let Some(mut decompressor) = self.decompressor.take() {
            decompressor.finish(&mut |out| self.store(out, note));
        }
    }

    /// The body ended as it should.
    pub fn close(&mut self, note: &mut dyn FnMut(Anomaly)) {
        self.flush(note);
        self.nothing.close();
        if let Some(whole) = &mut self.whole {
            whole.close();
            if let Some(file) = self.files.current() {
                file.truncate();
            }
            self.files.close_silent(FIELD);
        }
        if let Some(file) = self.files.current() {
            file.close();
        }
    }

    /// The body ended early.
    pub fn truncate(&mut self, note: &mut dyn FnMut(Anomaly)) {
        self.flush(note);
        self.nothing.close();
        if let Some(whole) = &mut self.whole {
            whole.close();
        }
        if let Some(file) = self.files.current() {
            file.truncate();
        }
    }

    /// The body as rules look at it.
    pub fn content(&self) -> &Content {
        let file = self.files.list.first().map(|file: &File| &file.content);
        self.whole.as_ref().or(file).unwrap_or(&self.nothing)
    }

    /// Rules have looked at all of it.
    pub fn mark_inspected(&mut self) {
        if let Some(whole) = &mut self.whole {
            whole.mark_inspected();
        }
        self.files.list.iter_mut().for_each(|file| file.content.mark_inspected());
    }
}
