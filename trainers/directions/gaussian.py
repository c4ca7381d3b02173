"""Two 32-bit words → two standard normal values, by the same float32 operations everywhere.

A replay on another machine must rebuild the same weights, so no library's log or sine is used: their last bits differ
between C libraries, compilers and devices. Box–Muller consists here of integer operations, conversions, +, −, × and
square roots, which IEEE 754 rounds in one way only. Another implementation must not fuse a product and a sum.

numpy runs these functions on arrays as the specification, and numba compiles the same lines for scalars; hence the
plain casts and `.view` instead of array methods. numba's disk cache watches `backends/cpu_kernels.py` only: touch that
file after an edit of this one.

The polynomials are weighted minimax fits (Lawson's iteration) rounded to float32. The result is within 1e-6 of
Box–Muller in float64 on the same u1, u2.
"""

import numpy as np

SQRT_HALF_BITS = 0x3F3504F3  # of float32 sqrt(1/2)
MINUS_2_LN_2 = float(np.float32(-2 * np.log(2.0)))
RADIANS = float(np.float32(2 * np.pi / 2**32))
# Lowest power first. -2 ln(1 + t) / t on [sqrt(1/2) - 1, sqrt(2) - 1], relative error 3e-8;
# sin a = a + a³ SIN(a²) and cos a = 1 + a² COS(a²) on |a| <= pi/4, absolute errors 4e-9 and 1e-10.
LOG = (-2.0, 0.99999976, -0.66668373, 0.5000415, -0.39913666, 0.33124787, -0.29904535, 0.2873368, -0.17444699)
SIN = (-0.16666655, 0.008332179, -0.0001951738)
COS = (-0.5, 0.041666623, -0.0013886765, 2.4390554e-05)

_F, _U, _I = np.float32, np.uint32, np.int32
_HALF, _ONE, _MINUS_2_LN_2, _RADIANS = _F(0.5), _F(1), _F(MINUS_2_LN_2), _F(RADIANS)
_SQRT_HALF_BITS, _EIGHTH_TURN = _U(SQRT_HALF_BITS), _U(1 << 29)
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8 = (_F(c) for c in LOG)
_S0, _S1, _S2 = (_F(c) for c in SIN)
_C0, _C1, _C2, _C3 = (_F(c) for c in COS)


def box_muller(word_radius, word_angle):
    """Return float32 (r cos a, r sin a) from uint32 arrays, r = `radius(word_radius)`, a = 2 pi · word_angle / 2³²."""
    r = radius(word_radius)
    cosine, sine = cos_sin(word_angle)
    return r * cosine, r * sine


def radius(word):
    """Return r = sqrt(-2 ln u1), u1 = fl(fl(word) + 1/2) / 2³² in [2⁻³³, 1] (fl rounds to float32): 32 bits, never 0.

    fl(word) + 1/2 = 2^e (1 + t) with 1 + t in [sqrt(1/2), sqrt(2)), so the logarithm is precise near u1 = 1 as well.
    """
    bits = _F(_F(word) + _HALF).view(_U)
    exponent = _I(_U(bits - _SQRT_HALF_BITS).view(_I) >> _I(23))
    t = _U(bits - _U(_U(exponent) << _U(23))).view(_F) - _ONE
    q = (((_L8 * t + _L7) * t + _L6) * t + _L5) * t + _L4
    q = (((q * t + _L3) * t + _L2) * t + _L1) * t + _L0
    return np.sqrt(q * t + _F(_I(exponent - _I(32))) * _MINUS_2_LN_2)


def cos_sin(word):
    """Return cos and sin of 2 pi · word / 2³²: the nearest quarter turn exactly, what is left by polynomial."""
    quarter = _U(_U(word + _EIGHTH_TURN) >> _U(30))
    a = _F(_U(word - _U(quarter << _U(30))).view(_I)) * _RADIANS
    aa = a * a
    sine = _F(a + (a * aa) * ((_S2 * aa + _S1) * aa + _S0)).view(_U)
    cosine = _F(_ONE + aa * (((_C3 * aa + _C2) * aa + _C1) * aa + _C0)).view(_U)
    # Odd quarters swap the two; cos changes sign in quarters 1 and 2, sin in 2 and 3.
    swap = _U((cosine ^ sine) & _U(_U(0) - _U(quarter & _U(1))))
    cosine_sign = _U(_U(_U(quarter + _U(1)) & _U(2)) << _U(30))
    sine_sign = _U(_U(quarter & _U(2)) << _U(30))
    return _U(cosine ^ swap ^ cosine_sign).view(_F), _U(sine ^ swap ^ sine_sign).view(_F)
