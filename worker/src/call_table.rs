//! A map from system calls to values.

use crate::call::{Abi, X32_BIT};

/// A map from system calls to values. Numbers are dense, so a look-up is an index into a vector: every
/// notification needs several look-ups.
#[derive(Clone, Debug)]
pub struct CallTable<T> {
    /// Values of the native, i386 and x32 table, by number.
    rows: [Vec<Option<T>>; 3],
}

impl<T> Default for CallTable<T> {
    fn default() -> Self {
        CallTable { rows: [Vec::new(), Vec::new(), Vec::new()] }
    }
}

impl<T> CallTable<T> {
    /// The value of a call; always `None` for a foreign table.
    #[inline]
    #[must_use]
    pub fn get(&self, abi: Abi, number: i32) -> Option<&T> {
        let (row, index) = place(abi, number)?;
        self.rows[row].get(index)?.as_ref()
    }

    /// The entry of a call, created empty; `None` for a foreign table.
    pub fn entry(&mut self, abi: Abi, number: i32) -> Option<&mut Option<T>> {
        let (row, index) = place(abi, number)?;
        let row = &mut self.rows[row];
        if row.len() <= index {
            row.resize_with(index + 1, || None);
        }
        row.get_mut(index)
    }
}

fn place(abi: Abi, number: i32) -> Option<(usize, usize)> {
    let (row, number) = match abi {
        Abi::Native => (0, number),
        Abi::I386 => (1, number),
        Abi::X32 if number & X32_BIT != 0 => (2, number & !X32_BIT),
        Abi::X32 | Abi::Foreign => return None,
    };
    Some((row, usize::try_from(number).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_has_its_own_numbers() {
        let mut table = CallTable::default();
        for (abi, number, value) in
            [(Abi::Native, 3, 'n'), (Abi::I386, 3, 'i'), (Abi::X32, X32_BIT | 3, 'x'), (Abi::Native, 0, 'z')]
        {
            *table.entry(abi, number).expect("a place") = Some(value);
        }
        let found = |abi, number| table.get(abi, number).copied();
        assert_eq!(found(Abi::Native, 3), Some('n'));
        assert_eq!(found(Abi::Native, 0), Some('z'));
        assert_eq!(found(Abi::I386, 3), Some('i'));
        assert_eq!(found(Abi::X32, X32_BIT | 3), Some('x'));
        for (abi, number) in [
            (Abi::Native, 2),
            (Abi::Native, 4),
            (Abi::I386, i32::MAX),
            (Abi::I386, -1),
            (Abi::X32, 3),
            (Abi::Foreign, 3),
        ] {
            assert_eq!(found(abi, number), None, "{abi:?} {number}");
        }
        assert_eq!(table.entry(Abi::Foreign, 3), None);
    }
}
