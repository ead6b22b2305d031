//! Products and inverses in GF(256) modulo x^8 + x^4 + x^3 + x^2 + 1 (RFC 6330 §5.7.2), computed at compile time.

/// x^8 modulo the polynomial: what is added when a doubling overflows.
pub(super) const REDUCTION: u8 = 0x1D;

/// `a` times `b`, bit by bit.
const fn slow_product(a: u8, b: u8) -> u8 {
    let (mut left, mut doubled, mut sum) = (b, a, 0);
    while left != 0 {
        if left & 1 != 0 {
            sum ^= doubled;
        }
        doubled = (doubled << 1) ^ if doubled & 0x80 != 0 { REDUCTION } else { 0 };
        left >>= 1;
    }
    sum
}

/// The product of a coefficient and every byte.
pub(super) static PRODUCTS: [[u8; 256]; 256] = {
    let mut table = [[0; 256]; 256];
    let mut a: u8 = 0;
    loop {
        let mut b: u8 = 0;
        loop {
            table[a as usize][b as usize] = slow_product(a, b);
            if b == u8::MAX {
                break;
            }
            b += 1;
        }
        if a == u8::MAX {
            break;
        }
        a += 1;
    }
    table
};

/// The inverse of every element; 0 where there is none.
static INVERSES: [u8; 256] = {
    let mut table = [0; 256];
    // The powers of 2 are all 255 other elements.
    let (mut power, mut inverse) = (1, 1);
    let half = 0x8E;
    loop {
        table[power as usize] = inverse;
        power = slow_product(power, 2);
        inverse = slow_product(inverse, half);
        if power == 1 {
            break;
        }
    }
    table
};

/// A coefficient's products with 0..16 and with 0, 16, … 240: what a byte shuffle looks up.
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), expect(dead_code, reason = "for SIMD only"))]
#[repr(C, align(32))]
pub(super) struct Nibbles {
    pub low: [u8; 16],
    pub high: [u8; 16],
}

/// The nibble products of every coefficient.
pub(super) static NIBBLES: [Nibbles; 256] = {
    let mut table = [const { Nibbles { low: [0; 16], high: [0; 16] } }; 256];
    let mut c: u8 = 0;
    loop {
        let mut nibble: u8 = 0;
        while nibble < 16 {
            table[c as usize].low[nibble as usize] = slow_product(c, nibble);
            table[c as usize].high[nibble as usize] = slow_product(c, nibble << 4);
            nibble += 1;
        }
        if c == u8::MAX {
            break;
        }
        c += 1;
    }
    table
};

/// Every coefficient as the bit matrix that GF2P8AFFINEQB takes: output bit `i` is the parity of the input and byte `7 − i`.
#[cfg(target_arch = "x86_64")]
pub(super) static AFFINE: [u64; 256] = {
    let mut table = [0; 256];
    let mut c: u8 = 0;
    loop {
        let mut input: u8 = 0;
        while input < 8 {
            let column = slow_product(c, 1 << input);
            let mut output: u8 = 0;
            while output < 8 {
                if column >> output & 1 != 0 {
                    table[c as usize] |= 1 << (8 * (7 - output) + input);
                }
                output += 1;
            }
            input += 1;
        }
        if c == u8::MAX {
            break;
        }
        c += 1;
    }
    table
};

/// `a` times `b`.
pub(crate) fn product(a: u8, b: u8) -> u8 {
    PRODUCTS[usize::from(a)][usize::from(b)]
}

/// The inverse of `a`, and 0 for 0.
pub(crate) fn inverse(a: u8) -> u8 {
    INVERSES[usize::from(a)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_field_of_the_rfc() {
        // α^8 and α^9 in OCT_EXP (§5.7.3).
        let power = |exponent| (0..exponent).fold(1, |power, _| product(power, 2));
        assert_eq!([power(7), power(8), power(9), power(254), power(255)], [128, 29, 58, 142, 1]);
        assert_eq!(inverse(0), 0);
        for a in 1..=u8::MAX {
            assert_eq!(product(a, inverse(a)), 1);
            assert_eq!((product(a, 0), product(a, 1)), (0, a));
        }
    }

    #[test]
    fn products_distribute_and_commute() {
        for a in 0..=u8::MAX {
            for b in 0..=u8::MAX {
                assert_eq!(product(a, b), product(b, a));
                assert_eq!(product(a ^ 0x53, b), product(a, b) ^ product(0x53, b));
            }
        }
    }
}
