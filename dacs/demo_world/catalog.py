"""Every kind of object and the meshes it may have; of several the street draws one."""

from functools import lru_cache

from dacs.demo_world import furniture, people, plants, scenery, vehicles
from dacs.demo_world.shapes import Mesh


@lru_cache(maxsize=1)
def meshes() -> dict[str, tuple[Mesh, ...]]:
    """All meshes by kind."""
    return {
        "car": (
            vehicles.car(4.3, 0.92, 1.46, 0.45, (0.55, 0.65)),  # saloon
            vehicles.car(3.9, 0.95, 1.50, 0.05, (0.20, 0.60)),  # hatchback
            vehicles.car(4.6, 0.95, 1.50, 0.05, (0.30, 0.70)),  # estate
            vehicles.car(4.7, 1.05, 1.95, 0.02, (0.10, 0.40)),  # van
        ),
        "truck": (vehicles.truck(),),
        "bus": (vehicles.bus(),),
        "train": (vehicles.tram(),),
        "person": (
            people.person(0.10, 0.00), people.person(0.22, 0.06), people.person(0.30, 0.10),
            people.person(0.10, 0.04, skirt=True), people.person(0.20, 0.04, bag=True),
        ),
        "bicycle": (people.bicycle_side(ridden=False), people.bicycle_along(ridden=False)),
        "bicycle ridden": (people.bicycle_along(ridden=True), people.bicycle_side(ridden=True)),
        "motorcycle": (people.motorcycle_side(ridden=False), people.motorcycle_along(ridden=False)),
        "motorcycle ridden": (people.motorcycle_along(ridden=True), people.motorcycle_side(ridden=True)),
        "tree": (*(plants.plant("tree", seed) for seed in range(4)), plants.plant("poplar", 9)),
        "bush": tuple(plants.plant("bush", seed) for seed in (20, 21, 22)),
        "thicket": tuple(plants.thicket(seed) for seed in (30, 31, 32)),
        "house": (
            scenery.house(2, 3, gable=True), scenery.house(3, 4, shop=True), scenery.house(3, 3, gable=True),
            scenery.house(4, 5, shop=True), scenery.house(4, 4), scenery.house(5, 5, shop=True), scenery.house(5, 6),
        ),
        "tower": (scenery.tower(6), scenery.tower(9)),
        "wall": (scenery.wall(),),
        "fence": (scenery.fence(14),),
        "guard rail": (scenery.guard_rail(),),
        "bridge": (scenery.bridge(),),
        "lamp": (furniture.lamp(7.0, -1.6), furniture.pole(5.5, 0.16)),
        "bollard": (furniture.pole(1.0, 0.14),),
        "traffic light": tuple(
            furniture.lights(lit, overhead=over) for lit in ("red light", "green light") for over in (False, True)
        ),
        "traffic sign": tuple(furniture.sign(form) for form in furniture.SIGNS),
        "gantry": (furniture.gantry(),),
        "static": (furniture.bin(), furniture.bin(), furniture.column(), furniture.shelter()),
        "dynamic": (furniture.barrier(), furniture.skip()),
        "road": (scenery.strip("road", "road"),),
        "sidewalk": (scenery.strip("sidewalk", "sidewalk", kerb=True),),
        "terrain": (scenery.strip("terrain", "terrain"),),
        "ground": (scenery.strip("ground", "ground"),),
        "parking": (scenery.strip("parking", "parking"),),
        "rail track": (scenery.strip("ballast", "rail track"),),
        "rail": (scenery.strip("rail", "rail track"),),
        "line": (scenery.strip("paint", "lane marking"),),
        "dashes": (scenery.dashes(3.0, 6.0),),
        "stripe": (scenery.tile("paint", "lane marking"),),
        "crossing road": (scenery.tile("road", "road"),),
        "patch": (scenery.tile("patch", "road"),),
        "lawn": (scenery.tile("terrain", "terrain"),),
        "yard": (scenery.tile("ground", "ground"),),
        "shade on road": (scenery.tile("contact", "road"),),
        "shade on sidewalk": (scenery.tile("shaded", "sidewalk"),),
    }  # fmt: skip
