//! Names as types: an enum whose variants are told apart as numbers are, and are spelt in one place.
use core::fmt;

/// A text that names nothing of what it was to name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownName;

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is nothing of this name")
    }
}

impl core::error::Error for UnknownName {}

/// Makes an enum of names: `Variant = "as it is shown"`, and at its end, perhaps, `or Wrapper(Other)` for the names of
/// another such enum.
macro_rules! names {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $variant:ident = $text:literal, )+
        }
        $( or $wrapper:ident($other:ty) )?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $( #[doc = concat!("`", $text, "`.")] $variant, )+
            $( #[doc = concat!("One of [`", stringify!($other), "`].")] $wrapper($other), )?
        }

        impl $name {
            /// The names that are spelt here.
            pub const ALL: &[$name] = &[$( $name::$variant ),+];

            /// Returns the name as it is shown.
            pub const fn name(self) -> &'static str {
                match self {
                    $( $name::$variant => $text, )+
                    $( $name::$wrapper(other) => other.name(), )?
                }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.name())
            }
        }

        impl core::str::FromStr for $name {
            type Err = crate::names::UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let found = $name::ALL.iter().copied().find(|known| known.name() == text);
                $( let found = found.or_else(|| text.parse().ok().map($name::$wrapper)); )?
                found.ok_or(crate::names::UnknownName)
            }
        }
    };
}

pub(crate) use names;
