# SPDX-License-Identifier: Apache-2.0
"""Procedural indoor RGB-D renderer (Blender's bpy module, Cycles on the CPU).

Every room is a pure function of (--seed, room index): shape, materials, furniture (real metric sizes),
lighting and cameras are drawn from one random stream.  Each room gives two frames (stems 2r and 2r+1).
  python render_rooms.py --out rooms --count 500 --seed 1 --start 0 [--deadline EPOCH] [--spp 6]
  python render_rooms.py --out closeups --closeups 1 --count 200 --seed 77 [--views 4]   (things on tables, .3 to 1.6 m)
  python render_rooms.py --out sequence --sequence 60 --seed 54 --spp 4   (one hand-held trajectory, 15 Hz)
  --redepth 1 only recomputes the depth of frames that exist.  Several processes may share --out with different --start.
Outputs: rgb/NNNNNN.jpg, depth/NNNNNN.png (uint16 mm, planar Z at pixel centres, 0 = invalid) and
cameras.json {stem: fx, fy, cx, cy, width, height} (integer pixel-centre convention, cx = (width-1)/2).
The photographs on walls are those of scikit-image; without it the same seed gives another room.
Frames that already exist are skipped, so an interrupted run resumes.  Blender axes: z up, metres.
"""
import argparse, colorsys, glob, json, math, os, random, sys, time
import bpy, cv2, numpy as np, OpenEXR
from mathutils import Matrix, Vector
from mathutils.bvhtree import BVHTree

W, H = 320, 240
U = None                                   # the room's random.Random, set in main


# Random draws are always made through these, in a fixed order, so that a room is reproducible.
def uni(a, b): return U.uniform(a, b)
def pick(*a): return U.choice(a)
def chance(p): return U.random() < p
def hsv(h, s, v): return tuple(c ** 2.2 for c in colorsys.hsv_to_rgb(h % 1, min(max(s, 0), 1), min(max(v, 0), 1)))
def kelvin(t):
    """Approximate linear RGB of a black body at t kelvin, 6500 K = white."""
    x = (6500 - t) / 3800
    return (1, 1 - .38 * x, max(.05, 1 - .74 * x)) if x > 0 else (1 + .3 * x, 1 + .12 * x, 1)


# ------------------------------------------------------------------ materials
class Mat:
    """Small wrapper to wire a procedural Principled material."""
    def __init__(s, rough=.5, metal=0., name='m'):
        s.m = bpy.data.materials.new(name); s.m.use_nodes = True
        s.t = s.m.node_tree; s.b = s.t.nodes['Principled BSDF']
        s.b.inputs['Roughness'].default_value = rough; s.b.inputs['Metallic'].default_value = metal
    def put(s, sock, v):
        if isinstance(v, bpy.types.NodeSocket): s.t.links.new(v, sock)
        elif isinstance(v, tuple) and len(v) == 3 and sock.type == 'RGBA': sock.default_value = (*v, 1)
        else: sock.default_value = v
    def n(s, typ, out=0, _set=(), **kw):
        nd = s.t.nodes.new('ShaderNode' + typ)
        for k, v in dict(_set).items(): setattr(nd, k, v)
        for k, v in kw.items(): s.put(nd.inputs[k.replace('_', ' ')], v)
        return nd.outputs[out]
    def uv(s, sc=(1, 1, 1), rot=0., obj=False):
        c = s.n('TexCoord', 'Object' if obj else 'UV')
        return s.n('Mapping', Vector=c, Scale=sc, Rotation=(0, 0, rot), Location=(U.random() * 9, U.random() * 9, 0))
    def noise(s, scale, detail=3., vec=None, **kw):
        return s.n('TexNoise', Vector=vec or s.uv(obj=True), Scale=scale, Detail=detail, **kw)
    def mix(s, f, a, b): return s.n('MixRGB', Factor=f, Color1=a, Color2=b)
    def ramp(s, f, a, b, lo=.3, hi=.7):
        nd = s.t.nodes.new('ShaderNodeValToRGB'); s.put(nd.inputs[0], f)
        for e, p, c in zip(nd.color_ramp.elements, (lo, hi), (a, b)): e.position = p; e.color = (*c, 1)
        return nd.outputs[0]
    def done(s, col, bump=None, strength=.3, dist=.003, **kw):
        s.put(s.b.inputs['Base Color'], col)
        if bump is not None: s.put(s.b.inputs['Normal'], s.n('Bump', Height=bump, Strength=strength, Distance=dist))
        for k, v in kw.items(): s.put(s.b.inputs[k.replace('_', ' ')], v)
        return s.m


def mul(c, f): return tuple(min(1., x * f) for x in c)
def wood_col(): return hsv(uni(.045, .11), uni(.25, .75), pick(uni(.25, .45), uni(.45, .7), uni(.65, .9)))
def any_col(): return hsv(U.random(), uni(.0, .85) * uni(.4, 1), uni(.15, .95))
def paint(c, rough=None): return Mat(uni(.15, .7) if rough is None else rough).done(c)
def metal(): return Mat(uni(.12, .45), 1.).done(pick((.6, .6, .62), (.35, .35, .37), (.65, .5, .3), (.08, .08, .09)))
def wood(c=None):
    c = c or wood_col(); m = Mat(uni(.2, .6)); k = uni(8, 22)
    f = m.noise(1., 4., m.uv((k * .1, k, k), obj=True), Distortion=uni(.3, 1.5))
    return m.done(m.ramp(f, mul(c, uni(.45, .75)), mul(c, 1.15)))
def planks(c=None):
    c = c or wood_col(); m = Mat(uni(.15, .55)); rot = pick(0, math.pi / 2, 0, uni(0, 3))
    v = m.uv(rot=rot); w = uni(.07, .22)
    br = m.n('TexBrick', Vector=v, Color1=mul(c, uni(.5, .85)), Color2=mul(c, 1.1), Mortar=mul(c, .2), Scale=1., Mortar_Size=uni(.001, .003),
             Brick_Width=uni(.6, 1.8), Row_Height=w, Bias=uni(-.3, .3), _set=dict(offset=uni(.25, .5)))
    g = m.noise(1., 4., m.uv((3, 60, 1), rot), Distortion=.6)
    return m.done(m.n('MixRGB', Factor=uni(.3, .7), Color1=br, Color2=m.ramp(g, (.35,) * 3, (1,) * 3), _set=dict(blend_type='MULTIPLY')))
def tiles(big=True):
    c = any_col() if chance(.25) else hsv(uni(.05, .13), uni(0, .25), uni(.35, .95)); m = Mat(uni(.05, .45)); a = uni(.2, .8) if big else uni(.05, .2)
    b = a * pick(1, 1, 2); c2 = mul(c, uni(.75, .98)) if chance(.8) else any_col()
    br = m.n('TexBrick', Vector=m.uv(rot=pick(0, 0, math.pi / 4)), Color1=c, Color2=c2, Mortar=mul(c, pick(.35, .6, 1.2)), Scale=1., Mortar_Size=uni(.002, .006),
             Brick_Width=b, Row_Height=a, _set=dict(offset=pick(0, 0, .5)))
    f = m.noise(uni(2, 9), 5., Distortion=uni(0, 2))
    return m.done(m.n('MixRGB', Factor=uni(.1, .5), Color1=br, Color2=m.ramp(f, (.55,) * 3, (1,) * 3), _set=dict(blend_type='MULTIPLY')), br, .2)
def carpet(c=None):
    c = c or (any_col() if chance(.3) else hsv(pick(.07, .1, .6, U.random()), uni(0, .35), uni(.2, .8))); m = Mat(.95); f = m.noise(uni(80, 300), 2.); g = m.noise(uni(.8, 5), 3.)
    return m.done(m.mix(g, m.ramp(f, mul(c, .45), mul(c, 1.2)), mul(c, uni(.6, .9))))
def fabric(c=None):
    c = c or any_col(); m = Mat(.9); k = uni(20, 60); st = pick(0, 0, 1, 2)
    f = m.noise(uni(60, 200), 2.)
    base = m.ramp(f, mul(c, .65), mul(c, 1.15))
    if st == 1: base = m.mix(m.ramp(m.n('TexWave', Vector=m.uv(), Scale=uni(2, 9)), (0,) * 3, (1,) * 3, .45, .55), base, any_col())
    if st == 2: base = m.mix(m.n('TexChecker', 1, Vector=m.uv(), Scale=uni(4, 25)), base, mul(c, uni(.5, 1.6)))
    return m.done(base)
def plaster(c):
    m = Mat(uni(.5, .95)); g = m.noise(uni(.4, 1.5), 3.); col = m.ramp(g, mul(c, uni(.8, .95)), c)
    return m.done(col, m.noise(uni(40, 200), 2.), uni(.1, .5), .003) if chance(.3) else m.done(col)
def brick():
    c = hsv(uni(.01, .07), uni(.3, .7), uni(.35, .75)) if chance(.7) else hsv(.1, .05, .85); m = Mat(.9)
    br = m.n('TexBrick', Vector=m.uv(), Color1=c, Color2=mul(c, .55), Mortar=pick((.5,) * 3, (.25,) * 3), Scale=1., Mortar_Size=.008, Brick_Width=.23, Row_Height=.075)
    f = m.noise(30., 4.)
    return m.done(m.n('MixRGB', Factor=.5, Color1=br, Color2=m.ramp(f, (.5,) * 3, (1,) * 3), _set=dict(blend_type='MULTIPLY')), br, .6, .01)
def wallpaper(c):
    m = Mat(.8); c2 = mul(c, uni(.55, .85)) if chance(.7) else any_col(); k = pick(0, 1, 2, 3); lo = uni(.3, .5)
    if k == 0: f = m.n('TexWave', Vector=m.uv(), Scale=uni(.6, 4))
    elif k == 1: f = m.n('TexVoronoi', Vector=m.uv(), Scale=uni(4, 14), Randomness=uni(0, 1))
    elif k == 2: f = m.n('TexMagic', 1, Vector=m.uv(), Scale=uni(2, 8), Distortion=uni(.5, 2))
    else: f = m.n('TexChecker', 1, Vector=m.uv(rot=math.pi / 4), Scale=uni(4, 12))
    return m.done(m.ramp(f, c2, c, lo, lo + uni(.05, .3)))
def marble():
    c = hsv(U.random(), uni(0, .15), uni(.2, .95)); m = Mat(uni(.05, .3)); f = m.noise(uni(2, 6), 5., Distortion=uni(1, 4))
    return m.done(m.ramp(f, mul(c, uni(.3, .7)), c, .42, .58))
def emit(c, s, sample=False):
    m = Mat(); m.m.cycles.emission_sampling = 'AUTO' if sample else 'NONE'   # fixtures are paired with lamps; sampling them too only adds cost
    return m.done((.8, .8, .8), Emission_Color=tuple(c), Emission_Strength=float(s))
def image_mat(path):
    m = Mat(uni(.2, .6)); im = bpy.data.images.load(path, check_existing=True)
    return m.done(m.n('TexImage', Vector=m.n('TexCoord', 'UV'), _set=dict(image=im)))
def abstract():
    m = Mat(.5); f = pick(lambda: m.noise(uni(2, 8), 2., Distortion=uni(0, 4)), lambda: m.n('TexVoronoi', 1, Vector=m.uv(), Scale=uni(3, 12)), lambda: m.n('TexMagic', Vector=m.uv(), Scale=uni(2, 9)))()
    return m.done(m.ramp(f, any_col(), any_col(), uni(.2, .45), uni(.5, .8)))


def photos():
    try:
        import skimage.data
        d = os.path.dirname(skimage.data.__file__)
        return [p for n in ('astronaut', 'camera', 'chelsea', 'coffee', 'coins', 'grass', 'gravel', 'rocket', 'hubble_deep_field', 'motorcycle_left', 'page', 'text', 'moon')
                for p in glob.glob(os.path.join(d, n + '.*'))]
    except ImportError: return []


# ------------------------------------------------------------------ geometry
def _cham():
    idx = {}; sg = [(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]
    for i, s in enumerate(sg):
        for ax in range(3): idx[s, ax] = 3 * i + ax
    F = []
    for ax in range(3):
        o = [k for k in range(3) if k != ax]
        for d in (-1, 1):
            def c(p, q):
                s = [0] * 3; s[ax] = d; s[o[0]] = p; s[o[1]] = q; return idx[tuple(s), ax]
            F.append([c(-1, -1), c(1, -1), c(1, 1), c(-1, 1)])
    for ax in range(3):                                    # bevel strips along axis ax
        o = [k for k in range(3) if k != ax]
        for p in (-1, 1):
            for q in (-1, 1):
                def c(e, k):
                    s = [0] * 3; s[ax] = e; s[o[0]] = p; s[o[1]] = q; return idx[tuple(s), k]
                F.append([c(-1, o[0]), c(1, o[0]), c(1, o[1]), c(-1, o[1])])
    F += [[idx[s, 0], idx[s, 1], idx[s, 2]] for s in sg]
    return np.array(sg, float), F
CH_S, CH_F = _cham()
def rot(ax, a): return Matrix.Rotation(a, 4, ax)
def T(x, y, z): return Matrix.Translation((x, y, z))


class Mesh:
    """Collects parts (each with a material) into one object; UVs are box-projected, in metres."""
    def __init__(s): s.v = []; s.p = []; s.f = []; s.mi = []; s.sm = []; s.mats = []; s.n = 0; s.uvfix = {}
    def add(s, V, F, mat, smooth=False, M=None, uv=None):
        V = np.asarray(V, float); P = V
        if M is not None: A = np.array(M); V = V @ A[:3, :3].T + A[:3, 3]
        if mat not in s.mats: s.mats.append(mat)
        if uv is not None: s.uvfix[len(s.f)] = uv
        s.v.append(V); s.p.append(P); s.f += [[i + s.n for i in f] for f in F]
        s.mi += [s.mats.index(mat)] * len(F); s.sm += [smooth] * len(F); s.n += len(V)
    def box(s, x, y, z, sx, sy, sz, mat, b=.004, M=None):
        """Chamfered box; (x, y) centre, z bottom, full sizes."""
        h = np.array([sx, sy, sz]) / 2; b = min(b, h.min() * .6)
        V = np.repeat(CH_S * (h - b), 3, 0) + np.tile(np.eye(3), (8, 1)) * np.repeat(CH_S, 3, 0) * b
        s.add(V + [x, y, z + sz / 2], CH_F, mat, False, M)
    def lathe(s, x, y, z, prof, mat, n=20, M=None, smooth=True, sc=(1, 1)):
        """Surface of revolution of [(r, z)...] about the vertical axis."""
        a = np.linspace(0, 2 * math.pi, n, endpoint=False); k = len(prof)
        V = np.array([(x + sc[0] * r * math.cos(t), y + sc[1] * r * math.sin(t), z + h) for r, h in prof for t in a])
        F = [[i * n + j, i * n + (j + 1) % n, (i + 1) * n + (j + 1) % n, (i + 1) * n + j] for i in range(k - 1) for j in range(n)]
        s.add(V, F, mat, smooth, M)
    def cyl(s, x, y, z, r, h, mat, r2=None, M=None, n=20):
        r2 = r if r2 is None else r2; b = min(.003, h * .2)
        s.lathe(x, y, z, [(1e-4, 0), (r, 0)], mat, n, M, False); s.lathe(x, y, z, [(r, 0), (r2, h - b), (max(r2 - b, 1e-4), h)], mat, n, M)
        s.lathe(x, y, z, [(max(r2 - b, 1e-4), h), (1e-4, h)], mat, n, M, False)
    def blob(s, x, y, z, rx, ry, rz, mat, e=1., M=None, n=20, k=11):
        """Super-ellipsoid centred at (x, y, z); e<1 gives cushion-like rounded boxes."""
        f = lambda c: math.copysign(abs(c) ** e, c)
        V = [(x + rx * f(math.cos(p)) * f(math.cos(t)), y + ry * f(math.cos(p)) * f(math.sin(t)), z + rz * f(math.sin(p)))
             for p in np.linspace(-math.pi / 2, math.pi / 2, k) for t in np.linspace(0, 2 * math.pi, n, endpoint=False)]
        s.add(V, [[i * n + j, i * n + (j + 1) % n, (i + 1) * n + (j + 1) % n, (i + 1) * n + j] for i in range(k - 1) for j in range(n)], mat, True, M)
    def limb(s, a, b, r, mat, r2=None):
        """Capsule between two points."""
        a, b = Vector(a), Vector(b); d = b - a; L = d.length; r2 = r2 or r
        pr = [(r * math.sin(t) + 1e-4, -r * math.cos(t)) for t in np.linspace(0, math.pi / 2, 5)] + [(r2 * math.cos(t) + 1e-4, L + r2 * math.sin(t)) for t in np.linspace(0, math.pi / 2, 5)]
        s.lathe(0, 0, 0, pr, mat, 12, Matrix.Translation(a) @ d.to_track_quat('Z', 'Y').to_matrix().to_4x4())
    def panel(s, x, z, w, h, mat, y=0., M=None):
        """Vertical picture-like quad facing +y with 0..1 UVs."""
        s.add([(x + w / 2, y, z), (x - w / 2, y, z), (x - w / 2, y, z + h), (x + w / 2, y, z + h)], [[0, 1, 2, 3]], mat, False, M, [(0, 0), (1, 0), (1, 1), (0, 1)])
    def build(s, M=None, name='o'):
        me = bpy.data.meshes.new(name); me.from_pydata(np.concatenate(s.v).tolist(), [], s.f)
        for m in s.mats: me.materials.append(m)
        P = np.concatenate(s.p); tot = np.array([len(f) for f in s.f]); li = np.concatenate([np.array(f) for f in s.f]); st = np.cumsum(tot) - tot
        nx = np.arange(len(li)) + 1; nx[st + tot - 1] = st; p = P[li]
        ax = np.abs(np.add.reduceat(np.cross(p, p[nx]), st, 0) if len(st) else 0).argmax(1).repeat(tot)
        uv = np.where((ax == 0)[:, None], p[:, [1, 2]], np.where((ax == 1)[:, None], p[:, [0, 2]], p[:, [0, 1]]))
        for f, q in s.uvfix.items(): uv[st[f]:st[f] + 4] = q
        me.uv_layers.new().data.foreach_set('uv', uv.astype(np.float32).ravel())
        me.polygons.foreach_set('material_index', np.array(s.mi, np.int32)); me.polygons.foreach_set('use_smooth', np.array(s.sm, bool)); me.update()
        o = bpy.data.objects.new(name, me); bpy.context.scene.collection.objects.link(o)
        if M is not None: o.matrix_world = M
        return o


def light(kind, M, power, col, size=.3, sy=None, vis=False):
    L = bpy.data.lights.new('l', kind); L.energy = power; L.color = col[:3]
    if kind == 'AREA':
        L.size = size
        if sy: L.shape = 'RECTANGLE'; L.size_y = sy
    elif kind == 'SUN': L.angle = .01
    else: L.shadow_soft_size = size
    o = bpy.data.objects.new('l', L); o.matrix_world = M; o.visible_camera = vis; bpy.context.scene.collection.objects.link(o)


# ------------------------------------------------------------------ furniture: back at y=0, front towards +y, centred in x
class Pal:
    """Lazily drawn pools of materials shared by one room, so that pieces match."""
    def __init__(s): s.pool = {}
    def get(s, k, n, fn):
        L = s.pool.setdefault(k, [])
        if len(L) < n: L.append(fn()); return L[-1]
        return pick(*L)
    wood = property(lambda s: s.get('w', 3, lambda: pick(wood, wood, wood, lambda: paint(hsv(U.random(), uni(0, .1), uni(.75, .95))), marble)() if chance(.9) else paint(any_col())))
    fab = property(lambda s: s.get('f', 4, fabric)); col = property(lambda s: s.get('c', 9, lambda: paint(any_col())))
    met = property(lambda s: s.get('m', 2, metal)); white = property(lambda s: s.get('wh', 2, lambda: paint(hsv(.1, uni(0, .08), uni(.8, .95)))))
    dark = property(lambda s: s.get('d', 2, lambda: paint((uni(.005, .04),) * 3))); leaf = property(lambda s: s.get('l', 2, lambda: paint(hsv(uni(.22, .38), uni(.4, .8), uni(.2, .55)))))
    art = property(lambda s: s.get('a', 5, lambda: image_mat(pick(*PH)) if PH and chance(.7) else abstract())); card = property(lambda s: s.get('k', 1, lambda: paint(hsv(.085, .45, .65), .9)))
    skin = property(lambda s: s.get('s', 2, lambda: paint(hsv(uni(.03, .07), uni(.3, .6), uni(.35, .85)), .6)))
PH = []


def book_row(m, P, x0, x1, y, z, hmax, d):
    x = x0
    while x < x1 - .05:
        if chance(.07): x += uni(.03, .2); continue
        w = uni(.012, .05); h = min(hmax - .01, uni(.17, .31)); dd = min(d - .02, uni(.13, .22))
        if x + w > x1: break
        m.box(x + w / 2, y + dd / 2 + .01, z, w * .97, dd, h, P.col if chance(.8) else P.white, .002); x += w
def cup(m, P, x, y, z):
    r = uni(.032, .045); h = uni(.075, .12); m.lathe(x, y, z, [(1e-4, 0), (r * .8, 0), (r, h), (r - .004, h), (r * .75, .01), (1e-4, .01)], pick(P.white, P.col), 16)
def bottle(m, P, x, y, z):
    r = uni(.03, .045); h = uni(.18, .32); m.lathe(x, y, z, [(1e-4, 0), (r, 0), (r, h * .6), (r * .35, h * .78), (r * .35, h), (1e-4, h)], P.col, 16)
def vase(m, P, x, y, z, h=None):
    h = h or uni(.15, .35); r = h * uni(.2, .35); m.lathe(x, y, z, [(1e-4, 0), (r * .6, 0), (r, h * .4), (r * .45, h * .85), (r * .6, h), (r * .5, h), (1e-4, h * .3)], pick(P.white, P.col))
    if chance(.5): leaves(m, P, x, y, z + h, uni(.12, .3), 14)
def leaves(m, P, x, y, z, s, n):
    mt = P.leaf
    for _ in range(n):
        a = uni(0, 6.28); e = uni(.2, 1.4); L = s * uni(.5, 1); M = T(x, y, z) @ rot('Z', a) @ rot('Y', -e)
        m.blob(L * .55, 0, 0, L * .55, L * uni(.1, .28), .004, mt, 1., M, 8, 5)
def plant(m, P, big=True):
    h = uni(.2, .4) if big else uni(.08, .14); r = h * uni(.4, .6); m.lathe(0, r, 0, [(1e-4, 0), (r * .75, 0), (r, h), (r * .9, h), (r * .88, h * .9), (1e-4, h * .9)], pick(P.white, P.col, P.card))
    t = uni(.2, 1.) if big else uni(.02, .1); m.limb((0, r, h * .8), (uni(-.05, .05), r, h + t), .012 if big else .004, P.wood)
    for k in range(3 if big else 1): leaves(m, P, 0, r, h + t * (1 - .3 * k), uni(.3, .6) if big else uni(.08, .18), 14)
    return 2 * r + .2, 2 * r
def table_lamp(m, P, x, y, z):
    h = uni(.3, .55); r = uni(.1, .18); c = kelvin(uni(2700, 4000)); m.lathe(x, y, z, [(1e-4, 0), (.07, 0), (.07, .015), (.012, .03), (.012, h * .6), (.03, h * .65), (1e-4, h * .65)], pick(P.met, P.white, P.col))
    m.lathe(x, y, z + h * .55, [(r, 0), (r * uni(.5, 1), h * .45)], emit(c, uni(1.5, 5), True) if chance(.6) else P.white)
def monitor(m, P, x, y, z):
    w = uni(.45, .8); h = w * pick(.5625, .625); b = uni(.08, .16); m.box(x, y, z, .22, .18, .012, P.dark); m.box(x, y - .02, z, .05, .03, b + .1, P.dark); m.box(x, y, z + b, w, .035, h, P.dark)
    sc = P.art if chance(.3) else (emit(hsv(U.random(), uni(0, .6), 1), uni(.2, 1.2)) if chance(.4) else P.dark); m.panel(x, z + b + .012, w - .024, h - .024, sc, y + .019)
def laptop(m, P, x, y, z):
    M = T(x, y, z) @ rot('Z', uni(-.4, .4)); mt = pick(P.met, P.dark); m.box(0, 0, 0, .33, .23, .016, mt, .003, M); m.box(0, .02, .0165, .28, .1, .002, P.dark, .001, M)
    m.box(0, 0, 0, .33, .008, .22, mt, .003, M @ T(0, -.115, .016) @ rot('X', uni(.1, .5))); m.panel(0, .01, .3, .19, pick(P.art, P.dark), .005, M @ T(0, -.115, .016) @ rot('X', .3))
def clutter(m, P, x0, x1, y0, y1, z, n):
    xs = np.linspace(x0, x1, n + 1)
    for a, b in zip(xs[:-1], xs[1:]):
        x = (a + b) / 2 + uni(-.1, .1) * (b - a); y = uni(y0 + .1, max(y0 + .11, y1 - .1)); w = b - a; k = pick('cup', 'cup', 'bottle', 'books', 'vase', 'box', 'plate', 'frame', 'laptop', 'plant', 'lamp', 'paper', 'bowl', '', '')
        if k == 'cup': cup(m, P, x, y, z)
        elif k == 'bottle':
            for i in range(pick(1, 1, 2, 3)): bottle(m, P, x + .09 * i - .05, y + uni(-.04, .04), z)
        elif k == 'books':
            zz = z
            for _ in range(pick(1, 2, 3, 4)): t = uni(.012, .045); m.box(0, 0, 0, uni(.13, .2), uni(.18, .27), t, P.col, .002, T(x, y, zz) @ rot('Z', uni(-.5, .5))); zz += t
        elif k == 'vase': vase(m, P, x, y, z)
        elif k == 'box': m.box(0, 0, 0, uni(.08, .3), uni(.08, .22), uni(.05, .25), pick(P.card, P.col), .003, T(x, y, z) @ rot('Z', uni(-1, 1)))
        elif k == 'plate': m.lathe(x, y, z, [(1e-4, 0), (.07, 0), (.13, .02), (.128, .024), (.07, .006), (1e-4, .006)], P.white)
        elif k == 'frame': M = T(x, y, z) @ rot('Z', uni(-.4, .4)) @ rot('X', .2); m.box(0, 0, 0, .17, .015, .22, P.wood, .003, M); m.panel(0, .02, .13, .18, P.art, .009, M)
        elif k == 'laptop' and w > .35 and y1 - y0 > .4: laptop(m, P, x, (y0 + y1) / 2, z)
        elif k == 'plant': r = .05; m.cyl(x, y, z, r, .1, P.col, r * 1.2); leaves(m, P, x, y, z + .09, uni(.1, .25), 12)
        elif k == 'lamp': table_lamp(m, P, x, y, z)
        elif k == 'paper': m.box(0, 0, 0, .21, .297, uni(.001, .02), P.white, .0005, T(x, y, z) @ rot('Z', uni(-1, 1)))
        elif k == 'bowl':
            r = uni(.09, .15); m.lathe(x, y, z, [(1e-4, 0), (r * .4, 0), (r, r * .5), (r * .95, r * .5), (1e-4, .012)], P.col); c = P.col
            for i in range(5): m.blob(x + uni(-.5, .5) * r, y + uni(-.5, .5) * r, z + r * .45, .035, .035, .035, c)
def legs(m, x, y0, y1, h, t, mat, splay=0.):
    for sx in (-1, 1):
        for yy, sy in ((y0, -1), (y1, 1)):
            m.limb((sx * (x + splay), yy + sy * splay, t * .5), (sx * x, yy, h), t * .5, mat) if splay else m.box(sx * x, yy, 0, t, t, h, mat)
def table(m, P, w=None, d=None, h=None, n=None, style=None):
    w = w or uni(1., 2.); d = d or uni(.65, 1.); h = h or uni(.7, .76); top = P.wood; t = uni(.02, .05); lg = pick(top, P.met, P.dark); style = style or pick('legs', 'legs', 'splay', 'panel', 'ped')
    m.box(0, d / 2, h - t, w, d, t, top, .005)
    if style == 'panel':
        for s in (-1, 1): m.box(s * (w / 2 - .06), d / 2, 0, .03, d * .85, h - t, lg)
    elif style == 'ped': m.cyl(0, d / 2, 0, .25, .025, lg, .22); m.cyl(0, d / 2, .02, .045, h - t - .02, lg)
    else: legs(m, w / 2 - .07, .07, d - .07, h - t, uni(.035, .08), lg, .04 if style == 'splay' else 0.); m.box(0, d / 2, h - t - .07, w - .2, d - .2, .06, top)
    clutter(m, P, -w / 2 + .1, w / 2 - .1, .08, d - .08, h, pick(1, 3, 4, 5) if n is None else n); return w, d
def round_table(m, P):
    r = uni(.4, .65); h = uni(.7, .75); mt = P.wood; m.cyl(0, r, h - .03, r, .03, mt, n=40); m.cyl(0, r, 0, .25, .03, mt, .2); m.cyl(0, r, .02, .05, h - .05, mt); clutter(m, P, -.3, .3, r - .25, r + .25, h, 2); return 2 * r, 2 * r
def coffee_table(m, P): return table(m, P, uni(.7, 1.2), uni(.45, .65), uni(.36, .46), pick(0, 1, 2, 3))
def chair(m, P, M=None):
    """Chair whose seat is at 0.45 m, backrest at y=0."""
    s = Mesh(); w = uni(.4, .48); hb = uni(.8, 1.); st = P.pool.setdefault('chair', pick(0, 1, 2)); a = P.pool.setdefault('chm', pick(P.wood, P.met, P.dark)); b = P.pool.setdefault('chs', pick(P.wood, P.fab, P.col))
    legs(s, w / 2 - .03, .04, w - .04, .43, .035, a, .03 if st == 1 else 0.); s.blob(0, w / 2, .44, w / 2, w / 2, .025, b, .25)
    if st == 2:
        for x in np.linspace(-w / 2 + .03, w / 2 - .03, 5): s.limb((x, .02, .44), (x, -.03, hb), .01, a)
        s.box(0, -.03, hb - .03, w, .025, .06, a)
    else:
        for x in (-1, 1): s.limb((x * (w / 2 - .03), .03, .43), (x * (w / 2 - .03), -.02, hb - .1), .014, a)
        s.blob(0, -.01, hb - .17, w / 2, .02, .17, b, .35)
    put(m, s, M); return w, w
def put(m, s, M):
    """Append mesh s to m under transform M."""
    k = off = 0
    for V, P in zip(s.v, s.p):
        F = []
        while k < len(s.f) and s.f[k][0] < off + len(V): F.append(k); k += 1
        for mi in sorted({s.mi[i] for i in F}):
            m.add(V, [[v - off for v in s.f[i]] for i in F if s.mi[i] == mi], s.mats[mi], s.sm[F[0]], M); m.p[-1] = P
        off += len(V)
def office_chair(m, P):
    c = pick(P.dark, P.fab); m.cyl(0, .3, .1, .03, .32, P.met)
    for i in range(5):
        a = i * 1.2566 + .3; m.limb((0, .3, .1), (.28 * math.cos(a), .3 + .28 * math.sin(a), .07), .018, P.dark); m.blob(.28 * math.cos(a), .3 + .28 * math.sin(a), .03, .03, .03, .03, P.dark)
    m.blob(0, .3, .47, .25, .25, .045, c, .4); m.blob(0, .07, .85, .23, .04, .28, c, .4); m.limb((0, .1, .42), (0, .06, .7), .02, P.dark)
    for s in (-1, 1): m.limb((s * .27, .2, .66), (s * .27, .42, .66), .02, P.dark); m.limb((s * .27, .3, .45), (s * .27, .3, .66), .015, P.dark)
    return .6, .6
def dining(m, P):
    w, d = uni(1.1, 2.1), uni(.75, 1.); s = Mesh(); table(s, P, w, d); put(m, s, T(0, .55, 0)); k = 1 if w < 1.3 else pick(2, 2, 3 if w > 1.7 else 2)
    for x in (np.arange(k) - (k - 1) / 2) * (w / k):
        if chance(.9): chair(m, P, T(x + uni(-.06, .06), .55 - uni(.05, .3), 0) @ rot('Z', uni(-.25, .25)))
        if chance(.9): chair(m, P, T(x + uni(-.06, .06), .55 + d + uni(.05, .3), 0) @ rot('Z', math.pi + uni(-.25, .25)))
    return w, d + 1.1
def desk(m, P):
    w, d, h = uni(1., 1.8), uni(.6, .8), uni(.7, .76); table(m, P, w, d, h, 0, pick('legs', 'panel')); n = pick(1, 1, 2)
    for i in range(n): monitor(m, P, (i - (n - 1) / 2) * .62 + uni(-.1, .1), .2, h)
    m.box(uni(-.05, .05), d - .2, h, .44, .13, .02, P.dark, .004)
    for r in range(4): m.box(0, d - .25 + .03 * r, h + .02, .41, .022, .005, P.white if chance(.5) else P.dark, .002)
    m.blob(.33, d - .2, h + .015, .03, .05, .018, P.dark); cup(m, P, -w / 2 + .15, d - uni(.15, .4), h)
    if chance(.6): table_lamp(m, P, w / 2 - .15, .15, h)
    if chance(.6): clutter(m, P, -w / 2 + .05, -w / 2 + .3, .1, d - .1, h, 1)
    if chance(.6):
        s = Mesh(); office_chair(s, P); put(m, s, T(uni(-.15, .15), d + uni(.4, .7), 0) @ rot('Z', math.pi + uni(-.7, .7)))
    return w, d + .55
def sofa(m, P, n=None):
    n = n or pick(1, 2, 2, 3, 3); sw = uni(.58, .72); aw = uni(.12, .24); d = uni(.82, .98); w = n * sw + 2 * aw; c = P.fab; hb = uni(.72, .92); e = uni(.12, .3)
    m.blob(0, d / 2, .2, w / 2 - .02, d / 2 - .02, .12, c, .12); m.blob(0, .14, hb / 2 + .04, w / 2 - .02, .13, hb / 2 - .04, c, e)
    for s in (-1, 1): m.blob(s * (w / 2 - aw / 2), d / 2, .34, aw / 2, d / 2 - .01, uni(.26, .3), c, e)
    for i in range(n):
        x = (i - (n - 1) / 2) * sw; m.blob(x, d / 2 + .1, .38, sw / 2 - .006, d / 2 - .12, .08, c, .25); m.blob(x, .32, .6, sw / 2 - .02, .09, .2, c, .4, None)
    for _ in range(pick(0, 1, 2, 3)): m.blob(0, 0, 0, .22, .08, .22, P.fab, .5, T(uni(-.35, .35) * n * sw, uni(.42, .5), .66) @ rot('X', uni(.2, .5)) @ rot('Y', uni(-.4, .4)))
    legs(m, w / 2 - .08, .08, d - .08, .1, .05, P.dark); return w, d
def bed(m, P):
    w, d, h = pick(.9, 1.2, 1.4, 1.6, 1.8), 2.05, uni(.42, .6); wd = P.wood; sh = pick(P.white, P.fab); m.box(0, d / 2, .1, w + .06, d, h * .4, wd); legs(m, w / 2, .05, d - .05, .15, .06, wd)
    m.box(0, .0, 0, w + .1, .06, uni(.8, 1.25), pick(wd, P.fab), .015); m.blob(0, d / 2, h - .1, w / 2, d / 2 - .02, .11, P.white, .15); c = P.fab
    m.blob(0, d / 2 + .3, h - .08, w / 2 + .05, d / 2 - .32, .16, c, .22)
    for x in ((0,) if w < 1.3 else (-w / 4, w / 4)): m.blob(x + uni(-.03, .03), .3, h + .08, .3, .2, .09, pick(sh, P.white), .6, None)
    if chance(.4): m.blob(0, 0, 0, .2, .2, .08, P.fab, .5, T(uni(-.2, .2), .55, h + .18) @ rot('X', .6))
    return w + .1, d
def cabinet(m, P, w=None, d=None, h=None, cl=True):
    w = w or uni(.6, 1.8); d = d or uni(.35, .55); h = h or uni(.6, 1.2); b = P.wood; fr = b if chance(.6) else P.wood; k = pick(.0, .06, .12); m.box(0, d / 2, k, w, d - .02, h - k, b); m.box(0, d / 2, h, w + .02, d + .01, .02, b)
    if k: legs(m, w / 2 - .05, .06, d - .06, k, .04, pick(P.met, b))
    nx, nz = max(1, round(w / .5)), pick(1, 1, 2, 3, 4) if h < 1.4 else pick(1, 2); gx, gz = w / nx, (h - k) / nz; kn = P.met
    for i in range(nx):
        for j in range(nz):
            x, z = (i - (nx - 1) / 2) * gx, k + j * gz; m.box(x, d, z + .004, gx - .008, .02, gz - .008, fr, .004)
            m.blob(x, d + .025, z + gz * .6, .015, .015, .015, kn) if nz > 1 else m.box(x + gx * .4 * (-1) ** i, d + .02, z + gz * .45, .012, .02, .13, kn)
    if cl and h < 1.4: clutter(m, P, -w / 2 + .08, w / 2 - .08, .02, d - .02, h + .02, pick(1, 2, 3, 4))
    return w, d + .03
def wardrobe(m, P): return cabinet(m, P, uni(.8, 2.2), uni(.55, .62), uni(1.85, 2.25), False)
def nightstand(m, P): return cabinet(m, P, uni(.38, .5), uni(.35, .42), uni(.45, .6), False)
def shelf(m, P):
    w, d, h = uni(.5, 1.6), uni(.24, .38), pick(uni(.8, 1.2), uni(1.6, 2.25)); b = P.wood; k = max(2, round(h / uni(.3, .42))); t = .02
    for s in (-1, 1): m.box(s * (w / 2 - t / 2), d / 2, 0, t, d, h, b, .002)
    if chance(.7): m.box(0, .005, 0, w, .01, h, b, .002)
    for i in range(k + 1):
        z = .05 + i * (h - .05 - t) / k; m.box(0, d / 2, z, w - 2 * t, d - .005, t, b, .002)
        if i < k:
            g = (h - .05) / k - t
            if chance(.65): book_row(m, P, -w / 2 + .03, w / 2 - .03 - (uni(0, .4) * w if chance(.5) else 0), .01 + d * .1, z + t, g, d)
            elif chance(.6): clutter(m, P, -w / 2 + .05, w / 2 - .05, .0, d, z + t, 2) if g > .33 else cup(m, P, uni(-.15, .15), d / 2, z + t)
            elif w > .3: m.box(uni(-.1, .1), d / 2, z + t, uni(.2, w * .6), d * .8, g * uni(.4, .8), pick(P.card, P.col), .006)
    return w, d
def tv(m, P):
    w, d, h = uni(1.2, 2.), uni(.35, .45), uni(.4, .55); cabinet(m, P, w, d, h, False); s = uni(.9, 1.4); s = min(s, w); m.box(0, d / 2, h + .02, .4, .2, .015, P.dark); m.box(0, d / 2, h + .03, .1, .03, .08, P.dark); m.box(0, d / 2, h + .09, s, .04, s * .56, P.dark)
    m.panel(0, h + .1, s - .02, s * .56 - .02, pick(P.art, P.dark, P.dark, emit(hsv(U.random(), .4, 1), .8)), d / 2 + .021); return w, d
def kitchen(m, P):
    n = pick(3, 4, 5); b = P.wood; top = pick(marble(), P.wood, P.dark); kn = P.met; w = n * .6; h = uni(.86, .93); m.box(0, .29, .1, w, .56, h - .14, b); m.box(0, .27, 0, w, .5, .1, P.dark); m.box(0, .31, h - .04, w + .02, .62, .04, top)
    for i in range(n):
        x = (i - (n - 1) / 2) * .6; m.box(x, .585, .11, .592, .02, h - .16, b, .003); m.box(x, .6, h - .13, .2, .025, .014, kn)
        if chance(.8): m.box(x, .17, 1.42, .598, .33, .7, b); m.box(x + .2, .34, 1.46, .012, .025, .15, kn)
    x = (pick(*range(n)) - (n - 1) / 2) * .6; m.box(x, .32, h, .5, .45, .006, P.dark if chance(.5) else kn); m.limb((x, .08, h), (x, .08, h + .28), .012, kn); m.limb((x, .08, h + .28), (x, .25, h + .25), .012, kn)
    m.box(0, .005, h, w, .01, .5, tiles(False), .001); clutter(m, P, -w / 2 + .1, w / 2 - .1, .1, .5, h, n)
    if chance(.7): f = pick(P.white, P.met, P.dark); m.box(w / 2 + .33, .33, .02, .6, .62, uni(1.6, 1.9), f, .012); m.box(w / 2 + .08, .66, .9, .02, .04, .5, kn); w += .7
    return w, .65
def floor_lamp(m, P):
    h = uni(1.4, 1.75); c = kelvin(uni(2700, 4000)); m.cyl(0, .2, 0, .14, .02, P.met); m.cyl(0, .2, .02, .012, h - .2, P.met); r = uni(.14, .24); m.lathe(0, .2, h - .28, [(r, 0), (r * uni(.5, 1), .28)], emit(c, uni(1, 6), True) if chance(.7) else P.white); return .45, .4
def carton(m, P):
    z = 0; w = uni(.3, .6)
    for _ in range(pick(1, 1, 2, 3)): h = uni(.2, .45); m.box(0, 0, 0, w, w * uni(.6, 1), h, pick(P.card, P.card, P.col), .004, T(0, w / 2, z) @ rot('Z', uni(-.15, .15))); z += h; w *= uni(.7, 1)
    return .65, .65
def ball(m, P): r = pick(.033, .11, .12, .325); m.blob(0, r, r, r, r, r, P.col, 1., None, 28, 17); return 2 * r, 2 * r
def stool(m, P): h = pick(.45, .65, .75); m.cyl(0, .2, h - .04, .18, .04, pick(P.wood, P.fab)); legs(m, .1, .1, .3, h - .04, .03, pick(P.wood, P.met), .05); return .4, .4
def bin_(m, P): r = uni(.12, .2); h = uni(.25, .6); m.lathe(0, r, 0, [(1e-4, 0), (r * .8, 0), (r, h), (r - .01, h), (r * .78, .02), (1e-4, .02)], pick(P.col, P.met, P.dark)); return 2 * r, 2 * r
def sink(m, P): w = uni(.5, .9); m.box(0, .24, .0, w * .9, .44, .78, P.wood); m.blob(0, .25, .82, w / 2, .25, .06, P.white, .3); m.blob(0, .27, .87, w * .35, .17, .02, P.dark, .6); m.limb((0, .06, .85), (0, .06, 1.02), .015, P.met); m.limb((0, .06, 1.02), (0, .2, 1.), .012, P.met); return w, .5
def toilet(m, P): m.blob(0, .42, .2, .18, .25, .21, P.white, .6); m.blob(0, .43, .41, .19, .24, .025, P.white, .8); m.box(0, .09, .38, .38, .17, .4, P.white, .02); return .45, .7
def tub(m, P): m.blob(0, .38, .28, .85, .38, .29, P.white, .2); m.blob(0, .38, .5, .74, .29, .08, P.white, .35); m.limb((.6, .05, .55), (.6, .2, .75), .015, P.met); return 1.72, .78
def whiteboard(m, P): m.box(0, .03, .9, 1.5, .03, 1., P.white); m.limb((-.7, .1, 0), (-.7, .03, 1.9), .015, P.met); m.limb((.7, .1, 0), (.7, .03, 1.9), .015, P.met); return 1.6, .3
def person(m, P):
    k = uni(.88, 1.1); sk = P.skin; sh = pick(P.fab, P.col); tr = pick(P.dark, P.fab, P.col); a = uni(-.3, .3); hair = paint(hsv(.08, .5, uni(.03, .5)), .8)
    M = lambda *p: tuple(k * c for c in p)
    for s in (-1, 1):
        m.limb(M(s * .1, .3, .9), M(s * .11, .3 + s * a * .4, .48), .078 * k, tr, .06 * k); m.limb(M(s * .11, .3 + s * a * .4, .48), M(s * .12, .28 + s * a * .5, .08), .06 * k, tr, .045 * k); m.blob(s * .12 * k, (.34 + s * a * .5) * k, .04, .05, .13, .04, P.dark)
        e = uni(0, .25); m.limb(M(s * .2, .3, 1.42), M(s * .28, .3 + e, 1.15), .05 * k, sh, .042 * k); m.limb(M(s * .28, .3 + e, 1.15), M(s * (.3 - e * .3), .42 + e, .95 + e), .04 * k, sk, .032 * k)
    m.limb(M(0, .3, .95), M(0, .3, 1.15), .14 * k, sh); m.blob(0, .3 * k, 1.27 * k, .2 * k, .12 * k, .22 * k, sh, .75); m.limb(M(0, .3, 1.45), M(0, .3, 1.58), .05 * k, sk); m.blob(0, .31 * k, 1.64 * k, .078 * k, .098 * k, .115 * k, sk); m.blob(0, .29 * k, 1.67 * k, .086 * k, .1 * k, .105 * k, hair); return .6, .6


# ------------------------------------------------------------------ room shell
WALL = [(shelf, 3), (cabinet, 3), (wardrobe, 1), (plant, 2), (floor_lamp, 1), (chair, 2), (carton, 1), (bin_, 1), (sofa, 1), (desk, 1), (table, 1), (tv, 1), (stool, 1), (ball, 1)]
KINDS = dict(living=([sofa, tv, coffee_table], [sofa, sofa, shelf, cabinet, plant, floor_lamp, round_table, ball]), bed=([bed, nightstand, wardrobe], [nightstand, desk, cabinet, chair, plant, shelf, carton]),
             office=([desk, desk, shelf], [desk, desk, cabinet, whiteboard, office_chair, bin_, plant, shelf, carton]), dining=([dining, cabinet], [cabinet, round_table, plant, shelf, sofa, chair]),
             kitchen=([kitchen, dining], [cabinet, stool, bin_, chair, plant]), bath=([tub, toilet, sink], [cabinet, bin_, stool, plant]), hall=([cabinet], [chair, plant, shelf, bin_, wardrobe, ball]),
             store=([carton, shelf], [carton, carton, shelf, wardrobe, chair, stool, ball, table, bin_, floor_lamp, bed]), mixed=([], [sofa, table, dining, bed, desk]))
FREE = (coffee_table, dining, round_table, office_chair, stool, ball, carton, person, table, chair, sofa)


def inside(poly, x, y):
    c = False
    for (x1, y1), (x2, y2) in zip(poly, poly[1:] + poly[:1]):
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1: c = not c
    return c


def build_room(kind=None, size=None):
    """Builds one room; returns (polygon, height, used footprints)."""
    bpy.ops.wm.read_factory_settings(use_empty=True); S = bpy.context.scene; P = Pal()
    kind = kind or U.choices(list(KINDS), [5, 4, 4, 3, 3, 1.2, 2, 1.5, 3])[0]
    w, d = (uni(2.5, 8.), uni(2.5, 7.)) if kind not in ('bath', 'hall', 'bed') else (uni(2.5, 5.), uni(2.5, 4.5)) if kind != 'hall' else (uni(1.3, 2.4), uni(4, 9.))
    if chance(.08) and kind != 'bath': w, d = uni(6, 9), uni(5, 9)
    if size: w, d = size
    h = uni(2.3, 3.2) if chance(.7) else uni(2.4, 2.7); ell = chance(.22) and min(w, d) > 3.2 and not size
    if ell: a, b = w * uni(.4, .7), d * uni(.4, .7); poly = [(0, 0), (w, 0), (w, b), (a, b), (a, d), (0, d)]
    else: poly = [(0, 0), (w, 0), (w, d), (0, d)]
    wc = hsv(pick(.08, .1, .12, .55, .6, .3, U.random()), uni(0, .22) if chance(.75) else uni(.3, .7), uni(.75, .97) if chance(.8) else uni(.3, .7))
    mk = lambda: U.choices([lambda: plaster(wc), lambda: paint(wc, .7), lambda: wallpaper(wc), brick, lambda: tiles(), planks], [5, 3, 2, .7, 2.5 if kind in ('bath', 'kitchen') else .2, .4])[0]()
    base = mk(); accent = mk() if chance(.3) else base; floor = U.choices([planks, tiles, carpet, marble, lambda: plaster(hsv(.1, .1, uni(.3, .6)))], [5, 2.5, 2.5, .4, .6] if kind != 'bath' else [1, 5, 0, 1, 0])[0]()
    ceil = plaster(hsv(.1, uni(0, .06), uni(.82, .98))) if chance(.88) else planks(); trim = P.white if chance(.7) else P.wood; sky = uni(0, 1); used = []; tall_no = []
    m = Mesh(); m.add([(x, y, 0) for x, y in poly], [list(range(len(poly)))], floor); m.add([(x, y, h) for x, y in poly], [list(range(len(poly)))], ceil); m.build(name='floor')
    day = chance(.7); wcol = kelvin(uni(5200, 7500)); nwin = 0; lit = 0.; crown = chance(.25); sk = uni(.05, .13)
    for i, (a, b) in enumerate(zip(poly, poly[1:] + poly[:1])):
        L = math.dist(a, b); dx, dy = (b[0] - a[0]) / L, (b[1] - a[1]) / L; hull = all((q[0] - a[0]) * -dy + (q[1] - a[1]) * dx > -1e-6 for q in poly); ref = ell and i in (2, 3)
        M = Matrix(((dx, -dy, 0, a[0]), (dy, dx, 0, a[1]), (0, 0, 1, 0), (0, 0, 0, 1))); m = Mesh(); t = .15; mt = accent if i == 1 else base
        ops = []; x = uni(.25, .9)
        while x < L - 1. and len(ops) < 4:
            k = U.choices(['win', 'door', 'open', 'gap'], [3.2 if hull else 0, 1.2, .8 if hull else 0, 2.4])[0]
            if k == 'win':
                ww = min(uni(.7, 2.4), L - x - .2); z0, z1 = (uni(.7, 1.1), uni(1.9, 2.2)) if chance(.85) else (.05, 2.15)
                if kind == 'bath' and chance(.5): z0 = 1.3
            elif k == 'gap': x += uni(.5, 2.); continue
            else: ww, z0, z1 = uni(.75, .95) if k == 'door' or chance(.6) else min(uni(1., 1.8), L - x - .2), 0, uni(2., 2.1)
            ops.append((k, x, x + ww, z0, min(z1, h - .1))); x += ww + uni(.3, 2.)
        e0, e1 = (0 if ell and i == 3 else -t), (L if ell and i == 2 else L + t); cx = e0; B = lambda u0, u1, z0, z1, mm=mt: m.box((u0 + u1) / 2, -t / 2, z0, u1 - u0, t, z1 - z0, mm, 0) if u1 - u0 > 1e-3 and z1 - z0 > 1e-3 else 0
        for k, u0, u1, z0, z1 in ops:
            B(cx, u0, 0, h); B(u0, u1, 0, z0); B(u0, u1, z1, h); cx = u1; um, ww = (u0 + u1) / 2, u1 - u0; fr = .07
            for z, hh, uu, fw in ((z0, z1 - z0, u0 - fr / 2, fr), (z0, z1 - z0, u1 + fr / 2, fr), (z1, fr, um, ww + 2 * fr)): m.box(uu, .005, z, fw, .03, hh, trim)
            wx, wy = a[0] + dx * um, a[1] + dy * um
            if k == 'win':
                nwin += 1; f = .05; nv, nh = pick(1, 1, 2, 2, 3) if ww > 1 else pick(0, 1), pick(0, 0, 1); m.box(um, .06, z0 - .03, ww + .2, .18, .03, trim)
                for s in [u0 + f / 2, u1 - f / 2] + [u0 + ww * (j + 1) / (nv + 1) for j in range(nv)]: m.box(s, -.09, z0, f, .06, z1 - z0, trim)
                for z in [z0, z1 - f] + [z0 + (z1 - z0) * .65] * nh: m.box(um, -.09, z, ww, .06, f, trim)
                if day:
                    light('AREA', M @ T(um, -t - .05, (z0 + z1) / 2) @ rot('X', math.pi / 2), uni(25, 110) * ww * (z1 - z0), wcol, ww, z1 - z0); lit += 1
                if chance(.35):
                    cm = P.fab
                    for s in (-1, 1):
                        cw = uni(.2, .55) * ww; xs = np.linspace(0, cw, 40); ys = .1 + .035 * np.sin(xs * uni(28, 50)); zb = uni(.02, .1) if chance(.7) else z0 - .15
                        x0 = u0 - .12 if s < 0 else u1 + .12 - cw; V = [(x0 + p, q, z) for z in (zb, z1 + .12) for p, q in zip(xs, ys)]; m.add(V, [[j, j + 1, 41 + j, 40 + j] for j in range(39)], cm, True)
                    m.limb((u0 - .25, .1, z1 + .14), (u1 + .25, .1, z1 + .14), .014, P.met)
                elif chance(.25):
                    for z in np.arange(z1 - uni(.3, .9) * (z1 - z0), z1, .04): m.box(um, -.02, z, ww - .02, .035, .003, P.white, 0)
                tall_no.append((wx, wy, ww / 2 + .3))
                if z0 > .6 and chance(.4): R = P.white; [m.box(um + (j - 5) * .08, .06, .12, .07, .06, .5, R, .02) for j in range(11)]
            elif k == 'door':
                dm = P.wood if chance(.6) else P.white; m.box(um, -.03, 0, ww, .04, z1, dm, .001); m.box(um, -.08, -.03, ww, .17, .0295, floor, 0)
                for j in range(pick(0, 2, 3)): m.box(um, -.008, .2 + j * .6, ww - .25, .012, .45, dm, .005)
                m.limb((u1 - .07, .0, 1.02), (u1 - .07, .055, 1.02), .01, P.met); m.limb((u1 - .07, .055, 1.02), (u1 - .18, .055, 1.02), .009, P.met); used.append((wx - .45, wy - .45, wx + .45, wy + .45))
            else:                                                  # open doorway with a second small space behind
                D, l, r = uni(1.2, 5.), uni(.3, 1.5), uni(.3, 1.5); hm = mk(); x0, x1 = u0 - l, u1 + r; yb = -t - D; m.box((x0 + x1) / 2, yb / 2, -.05, x1 - x0, D + t, .0495, floor, 0); m.box((x0 + x1) / 2, yb / 2 - t, h, x1 - x0, D + t, .05, ceil, 0)
                for q in (x0, x1): m.box(q, -t - D / 2 - .001, 0, .05, D, h, hm, 0)
                m.box((x0 + x1) / 2, yb, 0, x1 - x0, .05, h, hm, 0); light('AREA', M @ T((x0 + x1) / 2, -t - D / 2, h - .05), uni(3, 40), kelvin(uni(2700, 5500)), .4); used.append((wx - .6, wy - .6, wx + .6, wy + .6))
                s = Mesh(); pick(cabinet, plant, shelf, chair, carton)(s, P); s.build(M @ T((x0 + x1) / 2, yb + .04, 0))
        B(cx, e1, 0, h); cx = 0
        for k, u0, u1, z0, z1 in [o for o in ops if o[3] < .1] + [(0, L, L, 0, 0)]:
            if u0 - cx > .15: m.box((cx + u0 - .07) / 2, .007, 0, u0 - cx - .07, .014, sk, trim)
            cx = u1 + .07
        if crown: m.box(L / 2, .03, h - .06, L, .06, .06, trim, .02)
        x = uni(.2, 1.)
        while x < L - .5:                                          # pictures, clocks, switches on free wall
            pw, ph = uni(.2, 1.1), uni(.2, .9); z = uni(1.15, 1.6)
            if chance(.5) and z + ph < h - .1 and x + pw < L - .1 and not any(u0 - .15 < x + pw and x < u1 + .15 for _, u0, u1, _, _ in ops):
                if chance(.85): m.box(x + pw / 2, .012, z, pw, .024, ph, pick(P.wood, P.dark, P.white, P.met)); m.panel(x + pw / 2, z + .025, pw - .05, ph - .05, P.art, .025)
                else: m.cyl(0, 0, 0, .15, .03, P.white, None, T(x + .15, .03, z + .3) @ rot('X', math.pi / 2))
            x += pw + uni(.2, 1.6)
        for _ in range(2):
            x = uni(.1, L - .1)
            if not any(u0 - .12 < x < u1 + .12 for _, u0, u1, _, _ in ops): m.box(x, .004, pick(.25, 1.1), .08, .012, .08, P.white)
        m.build(M, 'wall')
    # outside: sky for camera rays, soft ambient otherwise, distant ground and a sun
    wd = bpy.data.worlds.new('w'); S.world = wd; wd.use_nodes = True; nt = wd.node_tree; bg = nt.nodes['Background']; lp = nt.nodes.new('ShaderNodeLightPath'); mx = nt.nodes.new('ShaderNodeMixRGB'); nt.links.new(lp.outputs[0], mx.inputs[0])
    v = uni(1.5, 6) if day else .02; mx.inputs[1].default_value = (*(c * (.6 if day else .02) for c in wcol), 1); mx.inputs[2].default_value = (v * uni(.6, 1), v * .95, v, 1); nt.links.new(mx.outputs[0], bg.inputs[0])
    g = Mesh(); z = -uni(.3, 9); g.add([(-60, -60, z), (60, -60, z), (60, 60, z), (-60, 60, z)], [[0, 1, 2, 3]], emit(mul(hsv(uni(.1, .35), uni(.1, .5), .6), 1), v * .6))
    for _ in range(10):
        an = uni(0, 6.28); r = uni(14, 40); hh = uni(4, 14); g.box(w / 2 + r * math.cos(an), d / 2 + r * math.sin(an), z, uni(3, 9), uni(3, 9), hh, emit(pick(hsv(uni(0, .12), uni(.1, .5), uni(.3, .9)), hsv(uni(.2, .35), uni(.3, .6), uni(.2, .6))), v * uni(.3, .8)))
    g.build(name='out')
    if day and chance(.55) and nwin: light('SUN', rot('Z', uni(0, 6.28)) @ rot('X', uni(.6, 1.2)), uni(2, 9), kelvin(uni(4200, 6000)))
    # ceiling lights
    warm = kelvin(uni(2700, 6500)); on = chance(.8) or not (day and lit); nx, ny = max(1, round(w / uni(2.2, 4))), max(1, round(d / uni(2.2, 4))); st = pick('disc', 'panel', 'pendant', 'spots', 'globe'); m = Mesh(); Pw = uni(10, 32) * w * d / (nx * ny) * (1 if on else 0)
    for i in range(nx):
        for j in range(ny):
            x, y = w * (i + .5) / nx, d * (j + .5) / ny
            if not inside(poly, x - .1, y - .1) or not inside(poly, x + .1, y + .1): continue
            zl = h - .12; es = emit(warm, (8 if on else .6))
            if st == 'disc': m.cyl(x, y, h - .08, .2, .08, es)
            elif st == 'panel': m.box(x, y, h - .03, .6 if ny > 1 else .3, .6 if ny > 1 else 1.2, .03, es)
            elif st == 'spots': m.cyl(x, y, h - .01, .06, .01, es); zl = h - .03
            else:
                r = uni(.12, .25); zl = h - uni(.45, .8); m.limb((x, y, zl), (x, y, h), .006, P.dark); m.blob(x, y, zl - r, r, r, r, es) if st == 'globe' else m.lathe(x, y, zl - .25, [(r, 0), (r * .4, .22), (.02, .25)], P.met); m.blob(x, y, zl - .15, .04, .04, .05, es); zl -= 2 * r + .05 if st == 'globe' else .27
            if on: light('AREA', T(x, y, zl - .02), Pw, warm, .08 if st == 'spots' else uni(.2, .6))
    if m.f: m.build(name='lamps')
    if chance(.25): light('POINT', T(uni(.4, w - .4), uni(.4, min(d, 2) - .3), uni(.8, 2)), uni(3, 20), kelvin(uni(2700, 3500)), .15)
    # furniture
    must, opt = KINDS[kind]; area = w * d * (.7 if ell else 1); n = int(area * uni(.25, .75)) + 2; todo = list(must) + [pick(*opt) if chance(.6) else U.choices(*zip(*WALL))[0] for _ in range(20 if size else min(n, 22))]
    if chance(.2) and not size: todo.append(person)
    if chance(.15) and not size: todo.append(person)
    ctr = []
    for fn in todo:
        s = Mesh(); fw, fd = fn(s, P)
        for _ in range(14):
            if fn in FREE and not (fn in (table, chair, sofa, carton) and chance(.7)):
                if fn is coffee_table and ctr and chance(.8): sx, sy, sa, sd = ctr[0]; an = sa; q = sd + uni(.3, .5); x, y = sx - math.sin(an) * q, sy + math.cos(an) * q
                else: x, y, an = uni(.3, w - .3), uni(.3, d - .3), pick(0, 1, 2, 3) * math.pi / 2 + uni(-.15, .15) * (fn not in (dining,)) if chance(.7) else uni(0, 6.28)
            else:
                i = U.randrange(len(poly)); a, b = poly[i], poly[(i + 1) % len(poly)]; L = math.dist(a, b)
                if L < fw + .05: continue
                u = uni(fw / 2 + .02, L - fw / 2 - .02)
                if chance(.3): u = pick(fw / 2 + .02, L - fw / 2 - .02)
                an = math.atan2(b[1] - a[1], b[0] - a[0]); g = uni(.02, .06) + (uni(.1, .8) if fn is sofa and chance(.2) else 0); x, y = a[0] + math.cos(an) * u - math.sin(an) * g, a[1] + math.sin(an) * u + math.cos(an) * g
                if fn in (wardrobe, shelf, kitchen) and any(math.hypot(x - p, y - q) < r + fw / 2 for p, q, r in tall_no): continue
            c, sn = math.cos(an), math.sin(an); cs = [(x + c * p - sn * q, y + sn * p + c * q) for p in (-fw / 2, 0, fw / 2) for q in (0, fd / 2, fd)]; X, Y = zip(*cs); r = (min(X), min(Y), max(X), max(Y))
            if not all(inside(poly, p, q) for p, q in cs) or (ell and r[2] > poly[3][0] and r[3] > poly[3][1]): continue
            if any(r[0] < o[2] and o[0] < r[2] and r[1] < o[3] and o[1] < r[3] for o in used): continue
            used.append(r); s.build(T(x, y, 0) @ rot('Z', an), fn.__name__)
            if fn is sofa: ctr.append((x, y, an, fd))
            break
    for _ in range(pick(0, 1, 1, 2)):                                  # rugs
        rw, rd = uni(.8, 2.6), uni(.6, 2.); s = Mesh(); x, y = uni(0, w), uni(0, d)
        if all(inside(poly, x + p * rw / 2, y + q * rd / 2) for p in (-1, 1) for q in (-1, 1)) and not (ell and x + rw / 2 > poly[3][0] and y + rd / 2 > poly[3][1]):
            f = pick(carpet, fabric)(); s.cyl(0, 0, .001, rw / 2.5, .009, f, n=40) if chance(.2) else s.box(0, 0, .001, rw, rd, .01, f, .004); s.build(T(x, y, 0))
    return poly, h, (w, d)


# ------------------------------------------------------------------ close-ups
def thing(m, P, x, y, z):
    """One object such as lies on a desk or a work bench, standing on z."""
    k = pick('cup', 'bottle', 'box', 'box', 'box', 'can', 'can', 'bowl', 'fruit', 'book', 'stack', 'ball', 'pen', 'tool', 'cereal', 'cereal', 'plate', 'jar', 'phone', 'roll', 'basket')
    M = T(x, y, z) @ rot('Z', uni(0, 6.28)); c = pick(P.col, P.col, P.col, P.white, P.card, P.art, P.met)
    if k == 'cup': cup(m, P, x, y, z)
    elif k == 'bottle': bottle(m, P, x, y, z)
    elif k == 'box': m.box(0, 0, 0, uni(.04, .28), uni(.04, .2), uni(.02, .2), c, .003, M)
    elif k == 'cereal':
        w, d, h = uni(.12, .22), uni(.04, .09), uni(.18, .33); m.box(0, 0, 0, w, d, h, c, .002, M); m.panel(0, 0, w * .98, h * .98, P.art, d / 2 + .001, M); m.panel(0, 0, w * .98, h * .98, P.art, d / 2 + .001, M @ rot('Z', math.pi))
    elif k == 'can': m.cyl(x, y, z, uni(.03, .055), uni(.07, .17), c)
    elif k == 'jar': r = uni(.03, .06); h = uni(.08, .2); m.lathe(x, y, z, [(1e-4, 0), (r, 0), (r, h * .8), (r * .8, h * .9), (r * .85, h), (1e-4, h)], c)
    elif k == 'bowl': r = uni(.06, .14); m.lathe(x, y, z, [(1e-4, 0), (r * .45, 0), (r, r * .5), (r * .95, r * .5), (1e-4, .012)], c)
    elif k == 'plate': r = uni(.08, .14); m.lathe(x, y, z, [(1e-4, 0), (r * .6, 0), (r, .02), (r * .98, .024), (r * .6, .006), (1e-4, .006)], c)
    elif k == 'fruit': r = uni(.025, .06); m.blob(x, y, z + r, r, r * uni(.7, 1.2), r, P.col)
    elif k == 'ball': r = uni(.02, .11); m.blob(x, y, z + r, r, r, r, c, 1., None, 24, 15)
    elif k == 'book': m.box(0, 0, 0, uni(.11, .22), uni(.16, .3), uni(.008, .05), c, .002, M)
    elif k == 'stack':
        for i in range(pick(2, 3, 4)): t = uni(.01, .06); m.box(0, 0, 0, uni(.1, .24), uni(.1, .26), t, pick(P.col, P.card, P.white), .002, T(x, y, z) @ rot('Z', uni(-.6, .6))); z += t
    elif k == 'pen': m.limb((x, y, z + .006), (x + uni(-.1, .1), y + uni(-.1, .1), z + .006), .005, P.col)
    elif k == 'tool': m.limb((x, y, z + .015), (x + uni(-.18, .18), y + uni(-.18, .18), z + .015), .014, pick(P.met, P.col)); m.blob(x, y, z + .018, .035, .02, .018, P.met, .5)
    elif k == 'phone': m.box(0, 0, 0, .07, .15, .009, P.dark, .003, M)
    elif k == 'roll': m.lathe(x, y, z, [(.02, 0), (uni(.045, .065), 0), (uni(.045, .065), uni(.08, .25)), (.02, uni(.08, .25))], P.white)
    else:
        w, d, h = uni(.2, .4), uni(.15, .3), uni(.08, .2)
        for q in (-1, 1): m.box(q * w / 2, 0, 0, .006, d, h, c, .001, M); m.box(0, q * d / 2, 0, w, .006, h, c, .001, M)
        m.box(0, 0, 0, w, d, .006, c, .001, M)


def bench(m, P):
    """A table, desk, counter or floor patch with much on it; (w, d, height of the surface)."""
    h = pick(uni(.68, .78), uni(.68, .78), uni(.85, .95), uni(.38, .5), .012); w, d = uni(.8, 1.9), uni(.6, 1.1)
    if h > .1: table(m, P, w, d, h, 0)
    else: h = .0
    if h > .6 and chance(.25): monitor(m, P, uni(-.3, .3), .18, h)
    if h > .6 and chance(.15): laptop(m, P, uni(-.2, .2), d * .5, h)
    if h > .6 and chance(.12): table_lamp(m, P, w / 2 - .2, .2, h)
    n = pick(2, 4, 6, 9, 12, 16, 20, 26); spread = uni(.12, .45); cx, cy = uni(-.2, .2), d * uni(.4, .65)
    for _ in range(n):
        x, y = min(w / 2 - .12, max(-w / 2 + .12, U.gauss(cx, spread))), min(d - .12, max(.12, U.gauss(cy, spread * .6)))
        thing(m, P, x, y, h)
    return w, d, h


def closeups(a):
    """Views of things on a table or on the floor from .3 to 1.5 m, in a furnished room."""
    global U
    lf = f'{a.out}/cameras_{a.start:06d}.jsonl'; old = {json.loads(x)[1] for x in open(lf) if x.startswith('["room"')} if os.path.exists(lf) else set(); log = open(lf, 'a'); tmp = f'{a.out}/.tmp_{a.start}.exr'; done = 0; t00 = time.time()
    for r in range(a.start, a.start + a.count):
        if a.deadline and time.time() > a.deadline: break
        if r in old: continue
        U = random.Random(a.seed * 1000003 + r); nr = np.random.default_rng(a.seed * 1000003 + r); t0 = time.time()
        try:
            U_kind = pick('living', 'bed', 'office', 'office', 'dining', 'kitchen', 'store', 'mixed'); poly, h, (w, d) = build_room(U_kind); P = Pal(); P.col, P.col, P.art, P.art
            s = Mesh(); bw, bd, bh = bench(s, P); placed = False
            for _ in range(60):
                i = U.randrange(len(poly)); A, B = poly[i], poly[(i + 1) % len(poly)]; an = math.atan2(B[1] - A[1], B[0] - A[0]) if chance(.5) else uni(0, 6.28)
                x, y = uni(.4, w - .4), uni(.4, d - .4); c, sn = math.cos(an), math.sin(an)
                cs = [(x + c * p - sn * q, y + sn * p + c * q) for p in (-bw / 2, 0, bw / 2) for q in (0, bd / 2, bd)]
                if all(inside(poly, p, q) for p, q in cs): placed = True; break
            if not placed: continue
            # What stands where the bench comes, goes.
            R = T(x, y, 0) @ rot('Z', an); mx, my = x - sn * bd / 2, y + c * bd / 2; rad = math.hypot(bw, bd) / 2
            for o in list(bpy.context.scene.objects):
                if o.type == 'MESH' and o.name.split('.')[0] not in ('floor', 'lamps', 'out') and o.matrix_world.translation.length > 0 and math.hypot(o.matrix_world.translation.x - mx, o.matrix_world.translation.y - my) < rad + .35: bpy.data.objects.remove(o)
            s.build(R, 'bench'); S, co = setup(a.spp, a.threads); bpy.context.view_layer.update(); bvh = make_bvh(); inner = make_bvh(('out',)); shots = []; tries = 0
            while len(shots) < a.views and tries < 120:
                tries += 1; hf = math.radians(uni(50, 75)); dist = math.exp(uni(math.log(.35), math.log(1.6))); pit = math.radians(uni(15, 75)); az = an + math.pi / 2 + U.gauss(0, .9) if chance(.75) else uni(0, 6.28)
                t = R @ Vector((uni(-.25, .25) * bw, bd * uni(.3, .7), bh + uni(0, .12))); p = t + Vector((math.cos(az) * math.cos(pit), math.sin(az) * math.cos(pit), math.sin(pit))) * dist
                if not inside(poly, p.x, p.y) or not .12 < p.z < h - .1: continue
                f = t - p; yaw = math.atan2(f.y, f.x) + U.gauss(0, .06); pt = math.atan2(f.z, math.hypot(f.x, f.y)) + U.gauss(0, .06)
                M = look(p, yaw, pt, math.radians(max(-30, min(30, U.gauss(0, 4 if chance(.75) else 15))))); q = probe(bvh, M, hf)
                if q.min() < .15 or np.percentile(q, 5) < .22 or q.std() / q.mean() < .05 or np.median(q) > 2.2 or (q > 15).mean() > .2: continue
                if any((M.translation - o[0].translation).length < .15 for o in shots): continue
                shots.append((M, hf, q))
            for k, (M, hf, q) in enumerate(shots):
                stem = f'{a.views * r + k:06d}'
                co.matrix_world = M; co.data.angle = hf; D = co.data.dof; D.use_dof = chance(.25); D.focus_distance = float(np.percentile(q, 40)); D.aperture_fstop = uni(4., 11)
                rgb, z = shoot(S, co, inner, hf, tmp, 0); v = z[z > 0]
                if v.size < .6 * z.size or np.percentile(v, 5) < 180: continue
                out = develop(rgb, look_params(), nr)
                if not 22 < out.mean() < 235 or out.std() < 12: continue
                log.write(json.dumps((stem, intr(hf))) + '\n'); log.flush(); save(a.out, stem, out, z); done += 1
        except Exception as ex: print('room', r, 'failed:', repr(ex), flush=True)
        log.write(json.dumps(('room', r)) + '\n'); log.flush(); print(f'room {r} {time.time() - t0:.2f}s frames {done} mean {(time.time() - t00) / max(done, 1):.2f}s', flush=True)
        if r % 10 == 9: merge(a.out)
    merge(a.out)


# ------------------------------------------------------------------ camera and rendering
def look(pos, yaw, pitch, roll):
    """Blender camera matrix; yaw about z from +x, pitch up positive (radians)."""
    f = Vector((math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), math.sin(pitch)))
    return Matrix.Translation(pos) @ f.to_track_quat('-Z', 'Y').to_matrix().to_4x4() @ rot('Z', roll)


def make_bvh(skip=()):
    """One BVH over all triangles of the scene in world space (exact first-hit geometry, as Cycles sees it)."""
    V, F, n = [], [], 0
    for o in bpy.context.scene.objects:
        if o.type != 'MESH' or o.name in skip: continue
        me = o.data; me.calc_loop_triangles(); v = np.empty(len(me.vertices) * 3, np.float32); me.vertices.foreach_get('co', v); f = np.empty(len(me.loop_triangles) * 3, np.int32); me.loop_triangles.foreach_get('vertices', f)
        A = np.array(o.matrix_world); V.append(v.reshape(-1, 3) @ A[:3, :3].T + A[:3, 3]); F.append(f.reshape(-1, 3) + n); n += len(me.vertices)
    return BVHTree.FromPolygons(np.concatenate(V).tolist(), np.concatenate(F).tolist(), all_triangles=True)


def cast(bvh, M, hf, us, vs):
    """Planar Z (along the optical axis) through pixel centres us x vs; inf where nothing is hit."""
    f = W / 2 / math.tan(hf / 2); o = M.translation; R = np.array(M.to_3x3()); u, v = np.meshgrid(us, vs)
    d = np.stack([(u - (W - 1) / 2) / f, -(v - (H - 1) / 2) / f, -np.ones_like(u, float)], -1).reshape(-1, 3); L = np.linalg.norm(d, axis=1); d = (d / L[:, None]) @ R.T
    rc = bvh.ray_cast; t = np.array([r if (r := rc(o, q)[3]) is not None else np.inf for q in d.tolist()])
    return (t / L).reshape(u.shape)


def probe(bvh, M, hf): z = cast(bvh, M, hf, np.linspace(4, W - 5, 14), np.linspace(4, H - 5, 10)); return np.minimum(z, 30.)


def setup(spp, threads):
    S = bpy.context.scene; S.render.engine = 'CYCLES'; C = S.cycles; C.device = 'CPU'; C.samples = spp; C.use_denoising = True; C.denoiser = 'OPENIMAGEDENOISE'; C.denoising_input_passes = 'RGB_ALBEDO_NORMAL'; C.denoising_prefilter = 'NONE' if spp > 3 else 'FAST'; C.denoising_quality = 'BALANCED'
    C.max_bounces = 3; C.diffuse_bounces = 3; C.glossy_bounces = 2; C.use_adaptive_sampling = False; C.caustics_reflective = C.caustics_refractive = False; C.sample_clamp_indirect = 4; C.sample_clamp_direct = 30; C.seed = U.randrange(10 ** 6); C.filter_width = 1.2
    S.render.resolution_x, S.render.resolution_y = W, H; S.render.threads_mode = 'FIXED'; S.render.threads = threads; S.render.use_persistent_data = True
    S.render.image_settings.file_format = 'OPEN_EXR'; S.render.image_settings.color_depth = '32'; S.render.image_settings.exr_codec = 'NONE'
    cd = bpy.data.cameras.new('c'); co = bpy.data.objects.new('c', cd); S.collection.objects.link(co); S.camera = co; cd.clip_start = .01; cd.clip_end = 500; cd.sensor_fit = 'HORIZONTAL'
    return S, co


def shoot(S, co, bvh, hf, tmp, depth_only=0):
    """Denoised linear radiance from Cycles and exact planar Z at every pixel centre by ray casting.
    What lies outside the windows is left invalid (0): no depth camera would measure it."""
    z = cast(bvh, co.matrix_world, hf, np.arange(W), np.arange(H)); z = np.where((z > .05) & (z < 25.), z * 1000, 0).round().astype(np.uint16)
    if depth_only: return None, z
    S.render.filepath = tmp; bpy.ops.render.render(write_still=True); rgb = OpenEXR.File(tmp).channels()['RGBA'].pixels[..., :3]
    return np.nan_to_num(rgb.astype(np.float32)), z


def develop(rgb, p, nr):
    """Camera pipeline: auto-exposure with error, partial white balance, filmic curve, vignette, noise."""
    lum = rgb @ np.array([.2126, .7152, .0722], np.float32); e = p['key'] / np.exp(np.log(np.clip(lum, 1e-3, 20)).mean()) if p.get('gain') is None else p['gain']; p['last'] = float(e)
    g = p['wb'] if p.get('wbv') is None else p['wb']; mean = np.clip(np.median(rgb.reshape(-1, 3), 0), 1e-4, None); x = rgb * e * ((mean.mean() / mean) ** g if p.get('wbv') is None else p['wbv']); p['lastwb'] = (mean.mean() / mean) ** g
    yy, xx = np.mgrid[:H, :W]; r2 = ((xx - W / 2) ** 2 + (yy - H / 2) ** 2) / (W / 2) ** 2; x = x * (1 - p['vig'] * r2)[..., None]; x = x * (1 + nr.normal(0, p['noise'], x.shape)) + nr.normal(0, p['noise'] * .25, x.shape); x = np.clip(x, 0, None)
    a = p['con']; x = x * (2.51 * x * a + .03) / (x * (2.43 * x * a + .59) + .14) if p['filmic'] else np.clip(x, 0, 1.); x = np.clip(x, 0, 1) ** (1 / 2.2)
    if p['blur'] > .2: x = cv2.GaussianBlur(x.astype(np.float32), (0, 0), p['blur'])
    return (np.clip(x, 0, 1) * 255 + .5).astype(np.uint8)


def look_params(): return dict(key=.2 * 2 ** U.gauss(-.55, .75), wb=uni(.3, 1), vig=uni(0, .25), noise=uni(.002, .05) ** 1.2, con=uni(.8, 1.2), filmic=chance(.75), blur=uni(0, .55))


def save(out, stem, rgb, z, q=92):
    cv2.imwrite(f'{out}/depth/{stem}.png', z); cv2.imwrite(f'{out}/rgb/{stem}.jpg', rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, q])


def merge(out):
    """Collect the per-process camera lines into cameras.json."""
    cams = {}
    for f in glob.glob(f'{out}/cameras_*.jsonl'):
        for ln in open(f):
            try: k, v = json.loads(ln); cams.update({k: v} if k != 'room' else {})
            except ValueError: pass
    tmp = f'{out}/cameras.json.{os.getpid()}'; json.dump(cams, open(tmp, 'w'), indent=0, sort_keys=True); os.replace(tmp, f'{out}/cameras.json')


def intr(hf): f = W / 2 / math.tan(hf / 2); return dict(fx=f, fy=f, cx=(W - 1) / 2, cy=(H - 1) / 2, width=W, height=H)


def rooms(a):
    global U
    lf = f'{a.out}/cameras_{a.start:06d}.jsonl'; old = {json.loads(x)[1] for x in open(lf) if x.startswith('["room"')} if os.path.exists(lf) else set(); log = open(lf, 'a'); tmp = f'{a.out}/.tmp_{a.start}.exr'; done = 0; t00 = time.time()
    for r in range(a.start, a.start + a.count):
        if a.deadline and time.time() > a.deadline: break
        stems = [f'{2 * r + k:06d}' for k in (0, 1)]
        if not a.redepth and (r in old or all(os.path.exists(f'{a.out}/rgb/{s}.jpg') for s in stems)): continue
        U = random.Random(a.seed * 1000003 + r); nr = np.random.default_rng(a.seed * 1000003 + r); t0 = time.time()
        try:
            poly, h, (w, d) = build_room(); S, co = setup(a.spp, a.threads); bpy.context.view_layer.update(); bvh = make_bvh(); inner = make_bvh(('out',)); shots = []; tries = 0
            while len(shots) < 2 and tries < 60:
                tries += 1; x, y = uni(.15, w - .15), uni(.15, d - .15)
                if not inside(poly, x, y): continue
                hf = math.radians(uni(50, 80)); z = pick(uni(.4, 1.9), uni(.9, 1.7)); pit = math.radians(min(15, max(-35, U.gauss(-10, 10)))); yaw = uni(0, 6.28) if chance(.3) else math.atan2(d / 2 + uni(-1, 1) - y, w / 2 + uni(-1, 1) - x)
                M = look((x, y, z), yaw, pit, math.radians(max(-5, min(5, U.gauss(0, 2))))); q = probe(bvh, M, hf)
                if np.percentile(q, 5) < .45 or q.min() < .2 or q.std() / q.mean() < .17 or np.percentile(q, 90) < 1.1 or (q > 15).mean() > .4 or (tries < 25 and np.median(q) < uni(.8, 2.)): continue
                shots.append((M, hf, q))
            for s, (M, hf, q) in zip(stems, shots):
                co.matrix_world = M; co.data.angle = hf; D = co.data.dof; D.use_dof = chance(.25); D.focus_distance = float(np.percentile(q, 40)); D.aperture_fstop = uni(2., 6)
                rgb, z = shoot(S, co, inner, hf, tmp, a.redepth); v = z[z > 0]
                if a.redepth:
                    if os.path.exists(f'{a.out}/rgb/{s}.jpg'): cv2.imwrite(f'{a.out}/depth/{s}.png', z)
                    continue
                if v.size < .4 * z.size or np.percentile(v, 5) < 350 or v.std() < 100: continue
                out = develop(rgb, look_params(), nr)
                if not 22 < out.mean() < 235 or out.std() < 14: continue
                log.write(json.dumps((s, intr(hf))) + '\n'); log.flush(); save(a.out, s, out, z); done += 1
        except Exception as ex: print('room', r, 'failed:', repr(ex), flush=True)
        log.write(json.dumps(('room', r)) + '\n'); log.flush(); print(f'room {r} {time.time() - t0:.2f}s frames {done} mean {(time.time() - t00) / max(done, 1):.2f}s', flush=True)
        if r % 10 == 9: merge(a.out)
    merge(a.out)


def sequence(a):
    """One smooth hand-held walk through a furnished room, fixed 60 degree FOV and exposure."""
    global U
    U = random.Random(a.seed); nr = np.random.default_rng(a.seed); poly, h, (w, d) = build_room('living', (5.2, 4.4)); S, co = setup(a.spp, a.threads); bpy.context.view_layer.update(); bvh = make_bvh(); inner = make_bvh(('out',)); hf = math.radians(60); n = a.sequence
    ctl = None                                              # choose a free straight-ish path with an open view
    for _ in range(400):
        y0 = math.atan2(d / 2 - (p := (uni(.5, w - .5), uni(.5, d - .5)))[1], w / 2 - p[0]); y1 = y0 + uni(-.7, .7); q = (p[0] + uni(-1.3, 1.3), p[1] + uni(-1.3, 1.3)); zc = uni(1.25, 1.55)
        if not (.4 < q[0] < w - .4 and .4 < q[1] < d - .4) or math.dist(p, q) < .7 or abs(y1 - y0) < .3: continue
        ok = [probe(bvh, look((p[0] + (q[0] - p[0]) * f, p[1] + (q[1] - p[1]) * f, zc), y0 + (y1 - y0) * f, -.2, 0), hf) for f in (0, .25, .5, .75, 1)]; sc = min(np.percentile(o, 2) for o in ok) + .15 * min(np.median(o) for o in ok)
        if ctl is None or sc > ctl[0]: ctl = (sc, p, q, y0, y1, zc)
    _, p, q, y0, y1, zc = ctl; ph = [uni(0, 6.28) for _ in range(20)]; wob = lambda t, k: sum(math.sin(2 * math.pi * f * t + ph[(3 * k + i) % 20]) * am for i, (f, am) in enumerate(((.35, 1), (.9, .45), (1.9, .2))))
    pars = dict(key=.165, wb=.7, vig=.12, noise=.012, con=1., filmic=True, blur=.3); poses = []; tmp = f'{a.out}/.tmp.exr'
    for i in range(n):
        t = i / 15; f = i / (n - 1); e = f * f * (3 - 2 * f) * .8 + f * .2; bend = math.sin(math.pi * f) * .15
        M = look((p[0] + (q[0] - p[0]) * e + bend * (q[1] - p[1]) * .3 + .012 * wob(t, 0), p[1] + (q[1] - p[1]) * e + .012 * wob(t, 1), zc + .015 * wob(t, 2) + .008 * math.sin(2 * math.pi * 1.8 * t)), y0 + (y1 - y0) * e + .02 * wob(t, 3), -math.radians(a.pitch) + .06 * math.sin(math.pi * f) + .012 * wob(t, 4), .012 * wob(t, 5))
        poses.append(np.array(M @ Matrix.Diagonal((1, -1, -1, 1)))); stem = f'{i:06d}'
        co.matrix_world = M; co.data.angle = hf
        if a.redepth: cv2.imwrite(f'{a.out}/depth/{stem}.png', shoot(S, co, inner, hf, tmp, 1)[1]); continue
        if os.path.exists(f'{a.out}/rgb/{stem}.jpg') and i: continue
        S.cycles.seed = i; rgb, z = shoot(S, co, inner, hf, tmp); out = develop(rgb, pars, nr)
        if i == 0: pars['gain'] = pars['last']; pars['wbv'] = pars['lastwb']
        save(a.out, stem, out, z); print('seq', i, flush=True)
    np.savetxt(f'{a.out}/poses.txt', np.array(poses).reshape(n, 16), fmt='%.8f', header='camera-to-world 4x4 row-major, OpenCV axes (x right, y down, z forward), metres, one frame per line, 15 Hz'); json.dump(dict(intr(hf), fps=15, hfov_deg=60), open(f'{a.out}/camera.json', 'w'))


if __name__ == '__main__':
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter); ap.add_argument('--out', required=True)
    for k, v in (('count', 100), ('seed', 1), ('start', 0), ('spp', 3), ('threads', 1), ('sequence', 0), ('redepth', 0), ('closeups', 0), ('views', 4)): ap.add_argument('--' + k, type=int, default=v)
    ap.add_argument('--pitch', type=float, default=math.degrees(.2), help='how far a sequence looks down at its ends, degrees')
    ap.add_argument('--deadline', type=float, default=0, help='unix time after which no new room is started')
    a = ap.parse_args(); PH[:] = photos()
    for s in ('rgb', 'depth'): os.makedirs(f'{a.out}/{s}', exist_ok=True)
    sequence(a) if a.sequence else closeups(a) if a.closeups else rooms(a)
