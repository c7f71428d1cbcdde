//! The kernel's own type information: where a struct has its fields. Called by [`super::support`]; bytes in, offsets out.
//!
//! # Layout
//! A header, then types of 12 bytes and what their kind adds, then strings; type 0 is void. A module's types and strings go on
//! where the kernel's end.
//!
//! # Source
//! Documentation/bpf/btf.rst; checked against `pahole` on Linux 6.18.

/// Type information that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// It is damaged, or of another byte order.
    #[error("the kernel's type information cannot be read")]
    Damaged,
    /// This kernel has no such field.
    #[error("this kernel has no {0}")]
    Missing(String),
}

const INT: u32 = 1;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const TYPE_TAG: u32 = 18;

/// Types of a kernel, and of a module perhaps.
#[derive(Debug, Default)]
pub struct Types {
    data: Vec<u8>,
    /// Where each type begins in `data`; type 1 is the first.
    starts: Vec<usize>,
    strings: Vec<u8>,
}

impl Types {
    /// Reads the kernel's, or a module's behind the kernel's.
    ///
    /// # Errors
    /// If the bytes are not what they should be.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), BtfError> {
        let word = |at: usize| word(bytes, at).ok_or(BtfError::Damaged);
        if bytes.first_chunk() != Some(&0xeb9f_u16.to_ne_bytes()) {
            return Err(BtfError::Damaged);
        }
        let header = word(4)? as usize;
        let section = |offset: usize| -> Result<&[u8], BtfError> {
            let start = header.checked_add(word(offset)? as usize).ok_or(BtfError::Damaged)?;
            let end = start.checked_add(word(offset + 4)? as usize).ok_or(BtfError::Damaged)?;
            bytes.get(start..end).ok_or(BtfError::Damaged)
        };
        let (types, strings) = (section(8)?, section(16)?);
        let mut at = 0;
        while at < types.len() {
            self.starts.push(self.data.len() + at);
            at += length(types, at).ok_or(BtfError::Damaged)?;
        }
        if at != types.len() {
            return Err(BtfError::Damaged);
        }
        self.data.extend_from_slice(types);
        self.strings.extend_from_slice(strings);
        Ok(())
    }

    /// Whether there is a typedef of this name.
    pub fn has_typedef(&self, name: &str) -> bool {
        self.find(TYPEDEF, name).is_some()
    }

    /// The offset in bytes of a field, as `file.f_path.dentry`; `[0]` of arrays is meant where a name goes on behind one.
    ///
    /// # Errors
    /// If there is no such field.
    pub fn offset(&self, path: &str) -> Result<u32, BtfError> {
        let missing = || BtfError::Missing(path.to_owned());
        let mut names = path.split('.');
        let mut id = names.next().and_then(|name| self.find(STRUCT, name)).ok_or_else(missing)?;
        let mut bits = 0;
        for name in names {
            let (offset, next) = self.member(self.plain(id), name, 0).ok_or_else(missing)?;
            bits += offset;
            id = next;
        }
        Ok(bits / 8)
    }

    /// The first of several fields that this kernel has.
    ///
    /// # Errors
    /// If it has none.
    pub fn first_offset(&self, paths: &[&str]) -> Result<u32, BtfError> {
        let found = paths.iter().find_map(|path| self.offset(path).ok());
        found.ok_or_else(|| BtfError::Missing(paths.join(" or ")))
    }

    fn at(&self, id: u32) -> Option<usize> {
        self.starts.get((id as usize).checked_sub(1)?).copied()
    }

    fn kind(&self, at: usize) -> u32 {
        word(&self.data, at + 4).unwrap_or(0) >> 24 & 31
    }

    fn name(&self, at: usize) -> &[u8] {
        let start = word(&self.data, at).unwrap_or(0) as usize;
        let rest = self.strings.get(start..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The last of that name: a module's own before the kernel's.
    fn find(&self, kind: u32, name: &str) -> Option<u32> {
        let index = self.starts.iter().rposition(|at| self.kind(*at) == kind && self.name(*at) == name.as_bytes())?;
        u32::try_from(index + 1).ok()
    }

    /// The type without its qualifiers, and the elements' type of an array.
    fn plain(&self, mut id: u32) -> u32 {
        // Types are a tree; the limit is for bytes that are none.
        for _ in 0..32 {
            let Some(at) = self.at(id) else { return id };
            let next = match self.kind(at) {
                TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => word(&self.data, at + 8),
                ARRAY => word(&self.data, at + 12),
                _ => return id,
            };
            let Some(next) = next else { return id };
            id = next;
        }
        id
    }

    /// Offset in bits and type of a member, also of one inside of a struct or union without a name.
    fn member(&self, id: u32, name: &str, depth: u32) -> Option<(u32, u32)> {
        let at = self.at(id).filter(|at| matches!(self.kind(*at), STRUCT | UNION) && depth < 16)?;
        let info = word(&self.data, at + 4)?;
        let (count, has_bitfields) = (info & 0xffff, info >> 31 == 1);
        for index in 0..count as usize {
            let member = at + 12 + 12 * index;
            let (of, raw) = (word(&self.data, member + 4)?, word(&self.data, member + 8)?);
            let bits = if has_bitfields { raw & 0x00ff_ffff } else { raw };
            if self.name(member) == name.as_bytes() {
                return Some((bits, of));
            }
            if self.name(member).is_empty()
                && let Some((inner, of)) = self.member(self.plain(of), name, depth + 1)
            {
                return Some((bits + inner, of));
            }
        }
        None
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

/// Length of one type.
fn length(types: &[u8], at: usize) -> Option<usize> {
    let info = word(types, at + 4)?;
    let count = (info & 0xffff) as usize;
    let more = match info >> 24 & 31 {
        INT | 14 | 17 => 4,
        ARRAY => 12,
        STRUCT | UNION | 15 | 19 => 12 * count,
        6 | 13 => 8 * count,
        0 | 20.. => return None,
        _ => 0,
    };
    Some(12 + more)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Structs with members of 8 bytes each, and typedefs.
    pub(in crate::tracer) fn types_of(structs: &[(&str, &[&str])], typedefs: &[&str]) -> Types {
        let mut strings = String::from("\0");
        let mut string = |name: &str| {
            strings.push_str(name);
            strings.push('\0');
            (strings.len() - name.len() - 1) as u32
        };
        let mut words = vec![string("long"), INT << 24, 8, 64];
        for (name, members) in structs {
            let count = members.len() as u32;
            words.extend([string(name), STRUCT << 24 | count, 8 * count]);
            for (index, member) in members.iter().enumerate() {
                words.extend([string(member), 1, 64 * index as u32]);
            }
        }
        for name in typedefs {
            words.extend([string(name), TYPEDEF << 24, 1]);
        }
        let mut types = Types::default();
        types.add(&bytes(&words, &strings)).expect("types");
        types
    }

    /// Type information by hand: `types` as words, and the strings.
    fn bytes(types: &[u32], strings: &str) -> Vec<u8> {
        let lengths = [24, 0, types.len() as u32 * 4, types.len() as u32 * 4, strings.len() as u32];
        let head = [0xeb9f_u16.to_ne_bytes(), [1, 0]].concat();
        let words = lengths.iter().chain(types).flat_map(|word| word.to_ne_bytes());
        head.into_iter().chain(words).chain(strings.bytes()).collect()
    }

    const STRINGS: &str = "\0int\0outer\0inner\0list\0a\0b\0";

    /// `struct inner { int a; int b; }`, `struct outer { int a; struct { int b; } ; struct inner list[4]; }`.
    fn kernel() -> Types {
        let (int, outer, inner, list, a, b) = (1, 5, 11, 17, 22, 24);
        let mut types = vec![int, INT << 24, 4, 32];
        types.extend([inner, STRUCT << 24 | 2, 8, a, 1, 0, b, 1, 32]);
        types.extend([0, STRUCT << 24 | 1, 4, b, 1, 0]);
        types.extend([0, ARRAY << 24, 0, 2, 1, 4]);
        types.extend([outer, STRUCT << 24 | 3, 40, a, 1, 0, 0, 3, 32, list, 4, 64]);
        let mut kernel = Types::default();
        kernel.add(&bytes(&types, STRINGS)).unwrap();
        kernel
    }

    #[test]
    fn fields_are_found_through_nameless_structs_and_arrays() {
        let kernel = kernel();
        assert_eq!(kernel.offset("inner.b"), Ok(4));
        assert_eq!(kernel.offset("outer.b"), Ok(4));
        assert_eq!(kernel.offset("outer.list.b"), Ok(12));
        assert_eq!(kernel.first_offset(&["outer.c", "outer.a"]), Ok(0));
        assert_eq!(kernel.offset("outer.c"), Err(BtfError::Missing("outer.c".to_owned())));
        assert_eq!(kernel.offset("nobody.c").unwrap_err().to_string(), "this kernel has no nobody.c");
    }

    #[test]
    fn a_module_goes_on_where_the_kernel_ends() {
        let mut kernel = kernel();
        let base = STRINGS.len() as u32;
        // struct more { struct inner a; }, typedef int word
        let types = [base, STRUCT << 24 | 1, 8, 22, 2, 64, base + 5, TYPEDEF << 24, 1];
        kernel.add(&bytes(&types, "more\0word\0")).unwrap();
        assert_eq!(kernel.offset("more.a.b"), Ok(12));
        assert!(kernel.has_typedef("word") && !kernel.has_typedef("more"));
    }

    #[test]
    fn damage_is_an_error() {
        let good = bytes(&[1, INT << 24, 4, 32], STRINGS);
        for cut in 0..good.len() {
            let mut types = Types::default();
            let _ = types.add(&good[..cut]);
            assert!(types.offset("inner.b").is_err());
        }
        assert_eq!(Types::default().add(&bytes(&[0, 31 << 24, 0], "")), Err(BtfError::Damaged));
        assert_eq!(Types::default().add(b""), Err(BtfError::Damaged));
    }
}
