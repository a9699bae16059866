"""How often things occur in each domain, and how wide its streets are. Tables only.

Shares of pixels follow the published ones as far as the cameras allow (docs/world.md lists both). Rare classes occur
more often, GTA5's rider, train, motorcycle and bicycle 3 to 32 times as often: with their real share, some hundred
small frames would be too few to learn and to measure them.
"""

# fmt: off
RATES = {
    #                     cityscapes  gta5    synthia
    # how wide and long
    "lanes left":          (1.4,    2.2,    1),     # lanes to the left of the camera's, mean
    "parking right":       (0.4,    0.3,    0.3),   # share with a row of parked cars at the right kerb
    "parking left":        (0.6,    0.6,    0.3),   # and at the left
    "parking":             (0.25,   0.25,   0.5),   # share of right rows that are marked as parking, not road
    "sidewalk":            (4.6,    6.6,    8),     # metres wide
    "sidewalk spread":     (1.6,    1.6,    3.5),   # metres more or less
    "verge":               (0.35,   0.5,    0),     # share of kerbs with grass along them
    "crossing":            (0.35,   0.35,   0.35),  # share with another street across
    "tracks":              (0.12,   0.22,   0),     # share with a tram line
    "end":                 (62,     130,    90),    # metres ahead where the street is closed
    "end spread":          (35,     80,     40),    # metres more or less
    "bend":                (0.0016, 0.0016, 0.0016),  # sideways drift, metres per square metre ahead, at most
    # what lines the sides: weights among each other
    "house":               (1,      1,      1),
    "tower":               (0.12,   0.3,    0.4),
    "park":                (0.4,    0.2,    0.2),
    "wall":                (0.28,   0.8,    0.2),
    "fence":               (0.5,    0.7,    0.25),
    "guard rail":          (0.04,   0.04,   0),
    "gap":                 (0.06,   0.2,    0.06),
    "tall":                (21,     10,     15),    # metres, height of houses, mean
    # how many a frame, mean
    "parked":              (0.4,    0.16,   0.5),   # share of taken places in a row
    "car":                 (2.2,    2.2,    3),     # moving
    "truck":               (0.2,    0.55,   0),
    "bus":                 (0.12,   0.3,    1.2),
    "bridge":              (0.04,   0.04,   0.04),
    "person":              (6,      4,      30),
    "bicycle ridden":      (0.3,    0.2,    1.1),
    "motorcycle ridden":   (0.1,    0.22,   0.4),
    "bicycle":             (1.8,    0.6,    0.6),   # left at the kerb
    "motorcycle":          (0.16,   0.22,   0.4),   # left at the kerb
    "tree":                (5.2,    2.2,    5),
    "bush":                (1.2,    1.2,    1.2),
    "lamp":                (2.6,    3,      4),
    "bollard":             (0.8,    0.8,    0.8),
    "traffic light":       (0.85,   0.6,    0.4),  # posts
    "traffic sign":        (2.2,    1.2,    1),
    "gantry":              (0.1,    0.02,   0.03),  # direction boards
    "static":              (1.4,    1.4,    1.4),   # bins, poster columns, shelters
    "dynamic":             (0.4,    0.9,    1),     # barriers, skips
    "patch":               (2.5,    2.5,    2.5),   # mended asphalt
}
# fmt: on
DOMAINS = ("cityscapes", "gta5", "synthia")  # the columns


def rates(domain: str) -> dict[str, float]:
    """One domain's column."""
    return {name: row[DOMAINS.index(domain)] for name, row in RATES.items()}
