"""Charts: what `watch` has measured as text, SVG, HTML or JSON; one file each."""
