"""English words by which a prompt is read: what is worn, what is a ground by its name, what says where something is."""

SINGULAR = frozenset({"a", "an", "one"})
ARTICLES = SINGULAR | {"the", "his", "her", "its", "their"}  # as far as they are in no phrase
OF_PLACE = set("in on at over under onto into against above behind across through along down inside".split())
PARTS = set("front top middle side edge center centre back bottom foot corner".split())  # "in front of a wall"
POSITIONS = PARTS | {"left", "right"}  # which alone name nothing
ABSENCE = {"nothing", "nobody", "none"}
BACKDROPS = {"background", "backdrop"}
GROUNDS = BACKDROPS | set(  # in a list of things, no preposition says so: "a red circle, green grass"
    "grass lawn meadow field fields snow sand ice desert beach shore coast sea ocean water lake river forest woods "
    "jungle park garden mountain mountains hill hills valley canyon countryside landscape scenery sky clouds space "
    "galaxy city street road highway alley town village skyline room kitchen bedroom bathroom office studio interior "
    "floor ground asphalt pavement wall outdoors indoors".split()
)
COLORS = set("black white red blue green yellow pink purple orange brown gray grey gold golden silver".split())
SIZES = set("big small large little tiny huge giant".split())
PLACES = set(  # as far as something is in or at them: "a castle" alone is a thing
    "pond pool swamp marsh harbor harbour bay lagoon reef stream creek waterfall cliff cave cavern tunnel gorge dunes "
    "plain plains savanna savannah prairie path trail track tracks lane plaza square stage arena stadium theater "
    "theatre rooftop balcony terrace porch deck pier dock station airport cafe bar restaurant store market supermarket "
    "mall hotel library museum church temple castle palace house barn cottage gym school hall hospital corridor "
    "factory lab laboratory garage farm orchard universe planet moon world place area scene".split()
)
PLACE_ENDINGS = ("room", "land", "scape", "yard", "side", "forest", "field", "shop", "way", "walk", "house")
WORN = COLORS | set(  # "in" these is no place: "a woman in a red dress", "a man in black"
    "dress gown skirt tutu sari kimono robe suit tuxedo uniform costume outfit clothes clothing armor armour "
    "spacesuit swimsuit wetsuit bikini shirt t-shirt tshirt blouse sweater hoodie jacket coat vest apron jeans pants "
    "trousers shorts leggings stockings socks shoes boots sneakers heels sandals hat cap helmet hood crown mask "
    "glasses sunglasses goggles scarf tie gloves cloak cape jersey pajamas pyjamas rags blazer cardigan poncho kilt "
    "toga bathrobe overalls lingerie leather chainmail hijab veil turban beanie bandana beret "
    "collar bow ribbon earrings necklace bracelet belt".split()
)
CLOTHES = ("coat", "dress", "shirt", "suit", "wear", "shoes", "boots")  # also "raincoat", "sportswear"
SEATS = {"chair", "armchair", "wheelchair", "throne", "stool"}
RIDDEN = set(  # nor "on" these: "a knight on a horse"; a building on fire stands in none
    "horse pony donkey camel elephant dragon unicorn bike bicycle motorcycle motorbike scooter skateboard snowboard "
    "surfboard skis fire".split()
)
OF_A_BODY = set(
    "hair eyes skin face lips mouth nose ears freckles makeup smile fur feathers beard mustache moustache "
    "eyebrows eyelashes bangs ponytail braid braids lipstick nails tattoo tattoos muscles wrinkles".split()
)
NO_THINGS = set("it he she they there this that i you we".split())
RELATIVES = {"that", "which", "who"}  # a verb follows: "a woman that sits on a sofa"
IS = {"is", "are", "was", "were"}
PARTICIPLES = set("made built woven sewn knit spun hewn torn worn broken frozen drawn".split())  # beside those in -ed
MATERIAL = PARTICIPLES | set(  # after which "in", "with" or "by", too, says what a thing is made of or covered in
    "carved covered wrapped composed crafted sculpted constructed formed coated decorated adorned encased knitted "
    "molded printed painted engulfed drenched soaked dyed".split()
)
TURNED = set("turned transformed morphed changed converted turning transforming morphing changing converting".split())
HOLDS = {"wearing", "holding", "carrying"}  # what follows comes newly
NO_OBJECT_BEHIND = set(  # verbs in -ing that mostly describe what follows ("sleeping dogs", "living room")
    "walking running standing sitting lying sleeping dancing jumping flying swimming smiling laughing crying crawling "
    "floating glowing burning shining shimmering sparkling hopping falling rising talking barking roaring flowing "
    "moving living dining wedding parking shopping fishing boxing washing rocking evening morning lighting lightning "
    "amazing stunning charming interesting missing steaming tracking establishing".split()
)
NOUNS_IN_ING = set("building ceiling clothing king painting drawing rendering ring spring string thing wing".split())
ADVERBS = set(  # beside those in -ly
    "up away out back ahead forward forwards backward backwards sideways upright fast together alone apart still "
    "asleep awake barefoot".split()
)
NOUNS_IN_LY = set("family lily jelly belly assembly ally bully holly".split())  # and all in -fly
PLURALS = set("people men women children kids sheep fish goldfish deer geese mice cattle".split())  # beside those in -s
NUMBERS = set("one two three four five six seven eight nine ten several many few".split())
ADJECTIVES = (COLORS | SIZES) | set(  # in lists ("a big, fluffy dog"), beside those in -ful and the like
    "beige cyan turquoise violet crimson teal ginger blond blonde dark light bright pale tall short long wide narrow "
    "thick fat thin slim young old elderly new ancient modern pretty handsome cute ugly elegant fluffy furry bushy "
    "curly soft hard rough shiny glossy matte sleek rusty dusty dirty clean wet dry happy sad angry sleepy lonely calm "
    "warm cold hot round wooden metal plastic colorful vintage futuristic muscular bald majestic fierce brave blurry "
    "low".split()
)
ENDS_OF_ADJECTIVES = ("ful", "ous", "less")
LINKS = {"and", "or"}
JOINS = {"of", "like", "as"}  # what follows tells of the thing before
