"""The page of `liyou serve --demo`: the page itself, how it is given out (storefront), and what it lists of the snapshot (shelf)."""
