//! The recording macros. This crate chooses between the two sets: a `cfg` inside a macro would check the
//! features of the crate that uses the macro.

/// Records that a point was reached.
///
/// - `kcov_edge!()` records a site: its PC resolves to the file, line and function of this line.
/// - `kcov_edge!(id)` records a point with an explicit `u64` id, for generated or interpreted code that has
///   no source line. Use [`kcov_hash64`](crate::record::kcov_hash64) of a name, or a small number.
///   Symbolisers cannot resolve such a PC. If two ids have the same PC, the log reports it; ids below 2^25
///   never do.
/// ```
/// fn open(flags: u64) {
///     kcov_worker::kcov_edge!();
///     kcov_worker::kcov_edge!(kcov_worker::record::kcov_hash64("state") ^ flags);
/// }
/// # open(0);
/// ```
#[cfg(feature = "record")]
#[macro_export]
macro_rules! kcov_edge {
    () => {{
        $crate::kcov_site_static!(Edge, "");
        $crate::record::record_edge_at(&SITE);
    }};
    ($id:expr $(,)?) => {
        $crate::record::record_edge_id($id)
    };
}

/// Records that a point was reached, under a name (a string literal) that stays the same when lines move.
///
/// ```
/// kcov_worker::kcov_edge_site!("open: too many links");
/// ```
#[cfg(feature = "record")]
#[macro_export]
macro_rules! kcov_edge_site {
    ($name:literal $(,)?) => {{
        $crate::kcov_site_static!(Edge, $name);
        $crate::record::record_edge_at(&SITE);
    }};
}

/// Records a comparison. Arguments: size in bytes (a constant 1, 2, 4 or 8), whether `a` is a constant of the
/// program, and the integers `a` and `b`. A fifth argument replaces the PC of the site; if
/// [`record_cmp`](crate::record::record_cmp) would refuse that PC, nothing is recorded.
///
/// ```
/// # let length = 7_u32;
/// kcov_worker::kcov_cmp!(4, true, 4096, length);
/// kcov_worker::kcov_cmp!(8, false, 1_u64, 2_u64, 0xffff_ffff_a000_0010);
/// ```
#[cfg(feature = "record")]
#[macro_export]
macro_rules! kcov_cmp {
    ($size:expr, $is_const:expr, $a:expr, $b:expr $(,)?) => {
        $crate::kcov_cmp_site!("", $size, $is_const, $a, $b)
    };
    ($size:expr, $is_const:expr, $a:expr, $b:expr, $ip:expr $(,)?) => {{
        const SIZE: $crate::record::CmpSize = $crate::record::macro_size($size as u64);
        let _ = $crate::record::record_cmp(SIZE.bytes(), $is_const, $a as u64, $b as u64, $ip);
    }};
}

/// Records a comparison like [`kcov_cmp!`](crate::kcov_cmp), under a name (a string literal).
///
/// ```
/// # let flags = 0_i32;
/// kcov_worker::kcov_cmp_site!("open: O_TMPFILE", 4, true, 0o20200000, flags);
/// ```
#[cfg(feature = "record")]
#[macro_export]
macro_rules! kcov_cmp_site {
    ($name:literal, $size:expr, $is_const:expr, $a:expr, $b:expr $(,)?) => {{
        const SIZE: $crate::record::CmpSize = $crate::record::macro_size($size as u64);
        $crate::kcov_site_static!(Cmp, $name);
        $crate::record::record_cmp_at(&SITE, SIZE, $is_const, $a as u64, $b as u64);
    }};
}

/// Defines the static of a site. It is inside the function that it marks, because symbolisers derive the
/// function's name from the mangled name of the static.
#[cfg(feature = "record")]
#[doc(hidden)]
#[macro_export]
macro_rules! kcov_site_static {
    ($kind:ident, $name:literal) => {
        $crate::kcov_linked_site! {
            static SITE: $crate::record::Site = $crate::record::Site::new(
                $crate::record::SiteKind::$kind,
                $crate::record::Place {
                    file: ::core::file!(),
                    line: ::core::line!(),
                    column: ::core::column!(),
                    module: ::core::module_path!(),
                },
                $name,
                if $name.is_empty() {
                    ::core::concat!(::core::file!(), ":", ::core::line!(), ":", ::core::column!())
                } else {
                    $name
                },
            );
        }
    };
}

/// Checks the type of the argument and does nothing, because the feature `record` is off.
#[cfg(not(feature = "record"))]
#[macro_export]
macro_rules! kcov_edge {
    () => {
        ()
    };
    ($id:expr $(,)?) => {
        if false {
            let _: u64 = $id;
        }
    };
}

/// Does nothing, because the feature `record` is off.
#[cfg(not(feature = "record"))]
#[macro_export]
macro_rules! kcov_edge_site {
    ($name:literal $(,)?) => {
        ()
    };
}

/// Checks the types of the arguments and does nothing, because the feature `record` is off.
#[cfg(not(feature = "record"))]
#[macro_export]
macro_rules! kcov_cmp {
    ($size:expr, $is_const:expr, $a:expr, $b:expr $(, $ip:expr)? $(,)?) => {{
        const _: $crate::record::CmpSize = $crate::record::macro_size($size as u64);
        if false {
            let _: (bool, u64, u64) = ($is_const, $a as u64, $b as u64);
            $(let _: u64 = $ip;)?
        }
    }};
}

/// Checks the types of the arguments and does nothing, because the feature `record` is off.
#[cfg(not(feature = "record"))]
#[macro_export]
macro_rules! kcov_cmp_site {
    ($name:literal, $size:expr, $is_const:expr, $a:expr, $b:expr $(,)?) => {
        $crate::kcov_cmp!($size, $is_const, $a, $b)
    };
}
