"""The table of conformance.toml: what breaks between dialects. `python -m tests.conformance` writes its page."""

from __future__ import annotations

from tests.proofs import Table

NUMBERS: dict[str, tuple[str, ...]] = {
    "claude-code": tuple(f"0.{n}" for n in range(1, 11)),
    "thinking": tuple("1 2 3 4 5 6 8 9 10 11 12 13 14 16 17 18 19 21 22 24".split()),
    "tools": tuple(
        "25 26 27 28 30 31 32 35 36 38 39 40 42 44 45 47 48 49 50 51 52 54 55 56 58".split()
    ),
    "streaming": tuple("61 62 63 64 65 68 69 71 72 74 76 77 78 79 82 83 84".split()),
    "usage": tuple("85 87 88 90 91".split()),
    "stops": tuple("92 93 95 96 97 98".split()),
    "roles": tuple("100 101 102 103 105 107 108 110 111".split()),
    "caching": tuple("113 114 115 116 117 118 120".split()),
    "content": tuple("121 123 124 125 126 128 129 130 131 133".split()),
    "headers": tuple("134 135 136 137 138 139 141 142 143 144 145".split()),
    "counting": tuple("146 147 148 149".split()),
    "failures": tuple("151 152 153 154 155 157 158 160 161 163 164 166".split()),
    "resources": tuple(str(n) for n in range(167, 183)),
    "more": tuple("184 186 187 188 190 192 193 194 195 197 198 199 200 201 202 203".split()),
}
"""The numbers of all scenarios, by the section of the page."""

INTRO = """\
# Conformance

What is known to break between an agent and a model when a gateway stands between them, what Isthmus does
in each case, and where that is proven. A proof is a test, or a case of a golden file: what a client sends
beside what the provider must get, or what the provider sends beside what the client must get. The numbers
have gaps, and stay what they are.

{count} scenarios: {proven} are proven, {partly} are proven in part and wait for a feature with the rest,
{waiting} wait for a feature that is not in this release.
"""

CONFORMANCE = Table("conformance", "What goes wrong elsewhere", INTRO, NUMBERS)

if __name__ == "__main__":
    CONFORMANCE.write()
